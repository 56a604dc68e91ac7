"""The rules: pure functions from a state and a message to events. No clock, no ids, no I/O."""
