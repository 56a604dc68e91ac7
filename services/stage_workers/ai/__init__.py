"""The one place where a provider is called: its protocol, its retries, its implementations."""
