"""HTTP in, HTTP out: every write is a command, every answer comes from the read model."""
