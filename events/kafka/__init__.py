"""The only aiokafka code: connections, topics, the consumer loop, producers, whole topics read."""
