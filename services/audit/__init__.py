"""Whether every copy of what happened says the same, and what it was at any position."""
