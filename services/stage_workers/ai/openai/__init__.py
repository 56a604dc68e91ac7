"""Whatever speaks OpenAI's API: the only package that knows the client libraries."""
