"""Decides: one message in, one atomic append out; then the relay and the scheduler carry it on."""
