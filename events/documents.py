"""JSON Schema and AsyncAPI 3 from the message classes."""

from typing import Any


def asyncapi() -> dict[str, Any]:
    return {}
