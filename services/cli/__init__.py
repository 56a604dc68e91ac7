"""The command line: it opens everything, passes it on, and talks to the API as any client does."""
