"""Does the work: seven stages, each a Kafka consumer that answers a batch with a report."""
