"""The quality gates: pure measures of a draft, before a person reviews it."""
