"""Who acts: the API, the orchestrator and the stage workers, and what they share."""
