"""What can be said: every message, its envelope, ids and topics. Imports nothing of ours."""
