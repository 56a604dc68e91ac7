"""The parts of the OpenAPI document that FastAPI cannot see: bodies, errors, headers, examples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic import BaseModel

from services.api import examples
from services.api.problems import CODES, Kind

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
PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True)
class Operation:
    """What cannot be seen in the code of one operation.

    `id` is its name in clients that are made from the document. `problems` are examples of the
    problems that only it has: by their code, or by another name of services/api/examples.py.
    """

    id: str
    problems: tuple[str, ...] = ()


START = ("run_already_active", "insufficient_credits", "nothing_to_do")
RETRY = ("run_already_active", "insufficient_credits", "nothing_to_do_again")
REVIEW = ("invalid_transition_of_an_article",)

# Every operation, by method and path; what all of its kind can answer is in `problems_of`.
OPERATIONS: Mapping[str, Operation] = {
    "GET /api/v1/automation/config": Operation("get_config"),
    "PUT /api/v1/automation/update_config": Operation("update_config"),
    "POST /api/v1/automation/run_now": Operation("run_now", START),
    "POST /api/v1/automation/retry_failed": Operation("retry_failed", RETRY),
    "GET /api/v1/automation/current_run": Operation("get_current_run"),
    "GET /api/v1/automation/run": Operation("get_run"),
    "GET /api/v1/automation/history": Operation("list_runs"),
    "GET /api/v1/automation/logs": Operation("get_run_log"),
    "GET /api/v1/automation/estimate": Operation("estimate_run"),
    "GET /api/v1/automation/pipeline_overview": Operation("get_pipeline_overview"),
    "GET /api/v1/automation/current_processing": Operation("get_current_processing"),
    "POST /api/v1/automation/pause": Operation("pause_run", ("invalid_transition",)),
    "POST /api/v1/automation/resume": Operation(
        "resume_run", ("invalid_transition", "insufficient_credits_to_resume")
    ),
    "POST /api/v1/automation/cancel": Operation("cancel_run", ("invalid_transition",)),
    "GET /api/v1/automation/events": Operation("list_run_events"),
    "GET /api/v1/automation/audit_head": Operation("get_audit_head"),
    "GET /api/v1/automation/stream": Operation("stream_events"),
    "GET /api/v1/automation/why": Operation("list_refusals"),
    "POST /api/v1/planner/keywords": Operation("import_keywords"),
    "GET /api/v1/planner/keywords": Operation("list_keywords"),
    "GET /api/v1/planner/clusters": Operation("list_clusters"),
    "GET /api/v1/planner/ideas": Operation("list_ideas"),
    "GET /api/v1/writer/tasks": Operation("list_tasks"),
    "GET /api/v1/writer/content": Operation("list_content"),
    "GET /api/v1/writer/images": Operation("list_images"),
    "GET /api/v1/writer/content/{content_id}": Operation("get_content"),
    "GET /api/v1/writer/images/{image_id}/file": Operation("get_image_file"),
    "POST /api/v1/writer/content/{content_id}/approve": Operation("approve_content", REVIEW),
    "POST /api/v1/writer/content/{content_id}/reject": Operation("reject_content", REVIEW),
    "POST /api/v1/writer/content/{content_id}/request_changes": Operation(
        "request_content_changes", REVIEW
    ),
    "POST /api/v1/sites": Operation("add_site"),
    "GET /api/v1/sites": Operation("list_sites"),
    "GET /api/v1/commands/{command_id}": Operation("get_command_outcome"),
    "GET /api/v1/account": Operation("get_account"),
    "GET /api/v1/account/ledger": Operation("list_ledger_entries"),
    "GET /api/v1/account/ai_tasks": Operation("list_ai_tasks"),
    "GET /api/v1/account/prices": Operation("list_prices"),
    "GET /api/v1/account/ai": Operation("get_ai_provider"),
    "PUT /api/v1/account/ai": Operation("choose_ai_provider"),
    "DELETE /api/v1/account/ai": Operation("drop_ai_provider"),
    "GET /api/v1/account/keys": Operation("list_keys", ("forbidden",)),
    "POST /api/v1/account/keys": Operation("issue_key"),
    "DELETE /api/v1/account/keys/{key_id}": Operation("revoke_key"),
    "POST /api/v1/admin/accounts": Operation("admin_open_account"),
    "GET /api/v1/admin/accounts/{account_id}": Operation("admin_get_account"),
    "GET /api/v1/admin/accounts/{account_id}/keys": Operation("admin_list_keys"),
    "POST /api/v1/admin/accounts/{account_id}/keys": Operation("admin_issue_key"),
    "POST /api/v1/admin/accounts/{account_id}/credits": Operation("admin_grant_credits"),
    "DELETE /api/v1/admin/keys/{key_id}": Operation("admin_revoke_key"),
    "GET /healthz": Operation("get_health"),
    "GET /readyz": Operation("get_readiness", ("not_ready",)),
    "GET /metrics": Operation("get_metrics"),
    "GET /asyncapi.json": Operation("get_asyncapi"),
}
TAGS: Mapping[str, str] = {
    "automation": "The runs of a site: its config and schedule, starting, pausing, watching.",
    "planner": "Keywords in; keywords, clusters and ideas out.",
    "writer": "Writing tasks, articles and images, and the review of articles.",
    "sites": "The web sites that an account makes content for.",
    "commands": "The outcomes of requests that were answered with 202.",
    "account": "The account of the key: its credits, their ledger, its AI tasks and AI provider.",
    "admin": "For the operator of the installation, with the admin token.",
    "operations": "At the server's root and without a key: health, metrics, documents.",
}
IDS = frozenset(
    {
        "site_id",
        "run_id",
        "retry_of",
        "content_id",
        "image_id",
        "command_id",
        "account_id",
        "key_id",
    }
)
# Of parameters that say nothing of themselves where they are declared.
PARAMETERS: Mapping[str, str] = {
    "site_id": "the site; one of another account is as unknown as one that never was",
    "run_id": "the run; one of another account is as unknown as one that never was",
    "retry_of": "a run; what failed in it is counted instead of what waits",
    "content_id": "the article, as `GET /api/v1/writer/content` lists it",
    "image_id": "the image, as `GET /api/v1/writer/images` lists it",
    "command_id": "the command, as a 202 names it",
    "account_id": "the account, as it was named when it was opened",
    "key_id": "the key's id, which is not its secret",
    "cursor": "`next_cursor` of the page before; none for the first page",
    "status": "only items of this status",
    "stage": "only what is of this stage, 1 to 7",
    "after": "a position; what follows it is given",
}
REPEATABLE = ("POST ", "PUT ")  # what takes an Idempotency-Key
SPELLED: Mapping[str, str] = {"last-event-id": "Last-Event-ID"}
IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request within 24 hours acts once and gives the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "example": "3f0c9d1e-run-of-monday",
}
SECURITY: Mapping[str, Mapping[str, str]] = {
    "account_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of an account. A viewer only reads, an operator does everything "
        "but keys, an admin everything.",
    },
    "admin_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of the installation's operator.",
    },
}
HEADERS: Mapping[str, str] = {
    "Allow": "the methods of this address",
    "Location": "where the outcome will be told",
    "Retry-After": "seconds after which to try again",
    "WWW-Authenticate": "how to say who is calling",
}
# Bodies of which any part may be given: what is not given stays, and null is refused.
WITHOUT_NULL = frozenset({"ConfigChanges"})
TEXT: Mapping[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
ANSWERED: Mapping[str, str] = {"200": "The answer", "201": "Made", "204": "Done; there is no body"}
PLAIN = "Successful Response"  # what FastAPI says where nothing is said


def json_request(
    model: type[BaseModel], others: Mapping[str, Any] | None = None, *, required: bool = True
) -> dict[str, Any]:
    """Return the OpenAPI part of an endpoint whose JSON body is the model."""
    schema = model.model_json_schema(ref_template=REF)
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": schema}, **(others or {})},
        }
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document made true and whole.

    Problems stand instead of 422, by status and code; operations have names that read well, and
    examples of what was really asked and answered.
    """
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ProblemBody"] = ProblemBody.model_json_schema(ref_template=REF)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for at, operation in operations(document):
        _name(at, operation)
        _secure(at, operation)
        _hoist(operation, schemas)
        _answer(at, operation)
        _exemplify(operation, examples.recorded().get(at, {}))
    components["securitySchemes"] = SECURITY
    components["headers"] = {
        name: {"description": about, "schema": {"type": "string"}}
        for name, about in HEADERS.items()
    }
    components["examples"] = {
        name: {
            "summary": examples.problem(name).detail,
            "value": examples.body_of(examples.answered(name)),
        }
        for name in _examples()
    }
    components["responses"] = {"method_not_allowed": _problem(["method_not_allowed"])}
    used = {tag for _, operation in operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [
        {"name": name, "description": about} for name, about in TAGS.items() if name in used
    ]
    document["servers"] = [{"url": "/", "description": "where this document was read"}]
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every operation after its "METHOD /path"."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _name(at: str, operation: dict[str, Any]) -> None:
    if at in OPERATIONS:
        operation["operationId"] = OPERATIONS[at].id
    about = operation.get("description", "")
    if about:
        operation["summary"] = about.partition("\n")[0].rstrip(".")
    parameters = operation.setdefault("parameters", [])
    for one in parameters:
        one["name"] = SPELLED.get(one["name"], one["name"])
        if not one.get("description") and one["name"] in PARAMETERS:
            one["description"] = PARAMETERS[one["name"]]
    if at.startswith(REPEATABLE):
        parameters.append(dict(IDEMPOTENCY_KEY))


def _secure(at: str, operation: dict[str, Any]) -> None:
    if "security" not in operation:
        return
    match at.split("/"):
        case [_, "api", _, "admin", *_]:
            schemes = ["admin_token"]
        case [_, "api", _, "commands", *_]:
            schemes = ["account_key", "admin_token"]
        case _:
            schemes = ["account_key"]
    operation["security"] = [{name: []} for name in schemes]


def _hoist(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Let the document name the body's model, as it does those of the answers."""
    for body in operation.get("requestBody", {}).get("content", {}).values():
        schema = body["schema"]
        schemas.update(schema.pop("$defs", {}))
        if schema.get("title") in WITHOUT_NULL:
            schema["properties"] = {
                name: _without_null(one) for name, one in schema["properties"].items()
            }
        if "properties" in schema:
            schemas[schema["title"]] = schema
            body["schema"] = {"$ref": REF.format(model=schema["title"])}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    (kind,) = (one for one in schema["anyOf"] if one != {"type": "null"})
    return {"title": schema["title"], **kind}


def problems_of(at: str, operation: Mapping[str, Any]) -> list[str]:
    """Return the names of the examples of all problems that an operation can answer.

    What all operations of its kind can answer follows from method, path and parameters: an id that
    is not there, a role that may not, a body that is too large.
    """
    method, _, path = at.partition(" ")
    secured, writes = "security" in operation, method != "GET"
    named = any(one["name"].endswith(("_id", "_of")) for one in operation.get("parameters", ()))
    own = OPERATIONS[at].problems if at in OPERATIONS else ()
    kinds = {
        _invalid(operation): True,
        "unauthenticated": secured,
        "forbidden": secured and (writes or "/admin/" in path),
        "not_found": named,
        "request_timeout": writes,
        "idempotency_conflict": at.startswith(REPEATABLE),
        "too_large": writes,
        "too_many_requests": secured,
        "headers_too_large": True,
        "internal_error": True,
        "unavailable": secured,
    }
    general = [name for name, possible in kinds.items() if possible]
    return sorted({*general, *own}, key=lambda name: (_kind(name).status, _examples().index(name)))


def _invalid(operation: Mapping[str, Any]) -> str:
    """Return what is best shown of a malformed request; a compressed one is refused everywhere."""
    if "requestBody" in operation:
        return "invalid_body"
    parameters = {one["name"]: one for one in operation.get("parameters", ())}
    for name in ("site_id", "run_id"):
        if parameters.get(name, {}).get("required"):
            return f"missing_{name}"
    return "invalid_limit" if "limit" in parameters else "invalid_request"


def _examples() -> Sequence[str]:
    return [*examples.PROBLEMS, *(code for code in CODES if code not in examples.PROBLEMS)]


def _kind(name: str) -> Kind:
    return CODES[examples.problem(name).code]


def _answer(at: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if at == "GET /metrics":
        responses["200"]["content"] = dict(TEXT)
    for status, response in responses.items():
        if response.get("description") == PLAIN:
            response["description"] = ANSWERED.get(status, PLAIN)
        for body in response.get("content", {}).values():
            if "anyOf" in body.get("schema", {}):
                # FastAPI adds the endpoint's own model, which an answer of the others is not.
                body["schema"].pop("$ref", None)
    if "202" in responses:
        pending = examples.pending()
        responses["202"]["headers"] = _headers(pending.headers)
        shown = responses["202"]["content"]["application/json"].setdefault("examples", {})
        shown["pending"] = {"value": examples.body_of(pending)}
    for status, names in groupby(problems_of(at, operation), lambda name: _kind(name).status):
        responses[str(status)] = _problem(list(names))
    operation["responses"] = dict(sorted(responses.items()))


def _problem(names: Sequence[str]) -> dict[str, Any]:
    """Return the response of these examples, which all have the status."""
    said = dict.fromkeys(f"`{examples.problem(name).code}`" for name in names)
    found: dict[str, Any] = {"description": ", ".join(said)}
    headers = {
        name: value
        for one in names
        for name, value in _headers(examples.answered(one).headers).items()
    }
    if headers:
        found["headers"] = headers
    shown = {name: {"$ref": f"#/components/examples/{name}"} for name in names}
    schema = {"$ref": REF.format(model="ProblemBody")}
    found["content"] = {PROBLEM_JSON: {"schema": schema, "examples": shown}}
    return found


def _headers(answered: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS if name in answered}


def _exemplify(operation: dict[str, Any], exchanges: Mapping[str, Any]) -> None:
    bodies = operation.get("requestBody", {}).get("content", {})
    for name, exchange in exchanges.items():
        asked, answered = exchange["request"], exchange["answer"]
        for one in operation["parameters"]:
            if one["name"] in asked["parameters"] and "example" not in one:
                one["example"] = asked["parameters"][one["name"]]
        if asked.get("type") in bodies:
            shown = bodies[asked["type"]].setdefault("examples", {})
            shown[name] = {"value": asked["body"]}
        content = operation["responses"].get(str(answered["status"]), {}).get("content", {})
        if "body" in answered and answered["type"] in content:
            shown = content[answered["type"]].setdefault("examples", {})
            shown[name] = {"value": answered["body"]}
