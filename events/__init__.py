"""What can be said: every message of Septet, its envelope, ids and topics. Imports nothing of ours."""
