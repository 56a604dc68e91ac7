"""The parts of the OpenAPI document that FastAPI cannot see: bodies, errors, Idempotency-Key."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

REF = "#/components/schemas/{model}"

Responses = dict[int | str, dict[str, Any]]


class ProblemBody(BaseModel):
    """An error (RFC 9457). `code` is stable; a rule's numbers are further members."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Pending(BaseModel):
    """A command whose outcome is not known yet; `GET /api/v1/commands/{command_id}` tells it."""

    command_id: str
    status: str = "pending"


ACCEPTED: Responses = {
    202: {"model": Pending, "description": "Sent; the outcome is not known yet"},
}
PROBLEM: Mapping[str, Any] = {
    "description": "An error",
    "content": {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
    },
}
IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request within 24 hours acts once and gives the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def json_request(model: type[BaseModel], others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the OpenAPI part of an endpoint whose JSON body is the model."""
    schema = model.model_json_schema(ref_template=REF)
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema}, **(others or {})},
        }
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document made true: problems instead of 422, our bodies and headers."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemBody"] = ProblemBody.model_json_schema(ref_template=REF)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for method, operation in path.items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = PROBLEM
            if method == "post":
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
            content = operation.get("requestBody", {}).get("content", {})
            for body in content.values():
                schemas.update(body["schema"].pop("$defs", {}))
    return document
