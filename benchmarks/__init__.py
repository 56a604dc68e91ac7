"""How fast, how good: one question a file, answers as JSON."""
