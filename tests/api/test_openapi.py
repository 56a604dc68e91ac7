"""The OpenAPI document: valid, whole, and with examples that are what the API really says."""

import json
import re
from collections.abc import Iterator

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from events.commands import ApprovalRequested, PauseRequested, ResumeRequested, RunRequested
from events.message import Message
from events.receipts import MessageRefused
from services.api import examples as made
from services.api.app import ROUTERS
from services.api.problems import CODES, answer
from services.api.schemas import HEADERS, OPERATIONS, PARAMETERS, TAGS, operations, problems_of
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.state import Run, State
from tests.api import examples
from tests.api.examples import OWN_PROVIDER
from tests.builders import (
    CREATED,
    OPENED,
    READY,
    after,
    config,
    drive,
    given,
    granted,
    in_flight,
    keywords,
    report,
    waiting,
)
from tests.builders import started as a_run

PROBLEM_JSON = "application/problem+json"
REPEATABLE = ("POST ", "PUT ")
RECORD_AGAIN = f"run `{examples.COMMAND}`, and look at what it changed"


@pytest.fixture(scope="module")
def document():
    with examples.a_world() as (world, _):
        return world.app.openapi()


@pytest.fixture(scope="module")
def recorded():
    return json.loads(examples.FILE.read_text("utf-8"))


# The document is one


def test_the_document_is_valid_by_the_official_schema(document):
    """And by the rules that no schema can say: unique names, every path's parameters."""
    assert document["openapi"].startswith("3.1.")
    found = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert found == []
    nameless = document | {"info": {"title": "Septet"}}
    assert [*OpenAPIV31SpecValidator(nameless).iter_errors()] != []


# Every operation is described


def test_every_operation_has_an_entry_in_the_table(document):
    found = {at for at, _ in operations(document)}
    lacking = sorted(found - set(OPERATIONS))
    assert not lacking, f"services/api/schemas.py: OPERATIONS has no entry for {lacking}"
    gone = sorted(set(OPERATIONS) - found)
    assert not gone, f"services/api/schemas.py: OPERATIONS has {gone}, which the API has not"


def test_every_route_is_in_the_document(document):
    hidden = {
        f"{method} {route.path}"
        for router in ROUTERS
        for route in router.routes
        for method in route.methods
    } - {at for at, _ in operations(document)}
    assert hidden == {"GET /docs", "HEAD /healthz", "HEAD /readyz"}


def test_operations_have_unique_names_that_read_well(document):
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []


def test_operations_have_a_sentence_and_a_tag_that_is_described(document):
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert set(described) == set(TAGS)
    for at, operation in operations(document):
        assert operation["summary"], at
        assert operation["description"].endswith("."), at
        assert operation["tags"], at
        assert set(operation["tags"]) <= set(described), at


def test_every_parameter_is_described(document):
    for at, operation in operations(document):
        for one in operation["parameters"]:
            problem = f"{at}: {one['name']} needs a description, there or in schemas.PARAMETERS"
            assert one.get("description"), problem
        if at.startswith(REPEATABLE):
            assert "Idempotency-Key" in {one["name"] for one in operation["parameters"]}, at
    used = {one["name"] for _, operation in operations(document) for one in operation["parameters"]}
    assert set(PARAMETERS) <= used


def test_what_needs_a_key_says_which(document):
    for at, operation in operations(document):
        path = at.partition(" ")[2]
        schemes = {name for one in operation.get("security", ()) for name in one}
        if not path.startswith("/api/"):
            assert schemes == set(), at
        elif path.startswith("/api/v1/admin/"):
            assert schemes == {"admin_token"}, at
        elif path.startswith("/api/v1/commands/"):
            assert schemes == {"account_key", "admin_token"}, at
        else:
            assert schemes == {"account_key"}, at
    assert set(document["components"]["securitySchemes"]) == {"account_key", "admin_token"}


def test_no_host_is_named(document):
    assert [server["url"] for server in document["servers"]] == ["/"]
    text = json.dumps(document).replace(OWN_PROVIDER["base_url"], "")  # what one may choose
    assert re.findall(r"https?://", text) == []


# Problems


def test_every_operation_says_which_problems_it_can_answer(document):
    for at, operation in operations(document):
        named = [codes_in(document, response) for response in operation["responses"].values()]
        told = {code for codes in named for code in codes}
        assert told == {made.problem(name).code for name in problems_of(at, operation)}, at
        assert {"invalid_request", "internal_error", "headers_too_large"} <= told, at
        assert "default" not in operation["responses"], at
        assert "422" not in operation["responses"], at


# As the contract's section 3 and the rules name them.
RULES = {
    "run_now": {"run_already_active", "insufficient_credits", "nothing_to_do"},
    "retry_failed": {"run_already_active", "insufficient_credits", "nothing_to_do"},
    "pause_run": {"invalid_transition"},
    "resume_run": {"invalid_transition", "insufficient_credits"},
    "cancel_run": {"invalid_transition"},
    "approve_content": {"invalid_transition"},
    "reject_content": {"invalid_transition"},
    "request_content_changes": {"invalid_transition"},
}


def test_the_rules_of_an_operation_are_named_with_it_and_with_no_other(document):
    rules = set().union(*RULES.values())
    for at, operation in operations(document):
        codes = set(codes_in(document, operation["responses"].get("400", {})))
        assert codes & rules == RULES.get(operation["operationId"], set()), at


def test_what_follows_from_an_operations_kind_is_named(document):
    for at, operation in operations(document):
        codes = {
            code for one in operation["responses"].values() for code in codes_in(document, one)
        }
        signed, writes = "security" in operation, not at.startswith("GET ")
        assert ("unauthenticated" in codes) == signed, at
        assert ("too_many_requests" in codes) == signed, at
        assert ("idempotency_conflict" in codes) == at.startswith(REPEATABLE), at
        assert ({"too_large", "request_timeout"} <= codes) == writes, at
        assert ("forbidden" in codes) >= writes, at
        assert ("not_found" in codes) >= ("{" in at), at


def test_every_problem_is_an_example_under_its_status(document):
    shown = document["components"]["examples"]
    used = set()
    for at, operation in operations(document):
        for status, response in operation["responses"].items():
            for name, reference in problems_in(response).items():
                used.add(name)
                assert reference == {"$ref": f"#/components/examples/{name}"}
                assert str(shown[name]["value"]["status"]) == status, at
                assert f"`{shown[name]['value']['code']}`" in response["description"], at
    assert {shown[name]["value"]["code"] for name in used} == set(CODES) - {"method_not_allowed"}
    assert set(shown) == used | {"method_not_allowed"}


def test_examples_of_problems_are_made_as_answers_are(document):
    for name, example in document["components"]["examples"].items():
        given_ = answer(made.problem(name))
        assert example["value"] == json.loads(given_.body), name
        assert example["value"]["type"] == f"/docs#{example['value']['code']}"
        unnamed = set(given_.headers) - {name.lower() for name in HEADERS}
        assert unnamed <= {"content-type", "content-length", "connection"}, name


ASKED = {
    "invalid_request": ("GET", "/sites", {"headers": {"Content-Encoding": "gzip"}}),
    "invalid_limit": ("GET", "/sites?limit=1001", {}),
    "missing_site_id": ("GET", "/automation/config", {}),
    "missing_run_id": ("GET", "/automation/run", {}),
    "invalid_body": (
        "POST",
        "/sites",
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
    ),
    "unauthenticated": ("GET", "/sites", {"headers": {"Authorization": "Bearer nobody"}}),
    "forbidden": ("POST", "/admin/accounts", {}),
    "not_found": ("GET", "/automation/run?run_id=run-x", {}),
    "method_not_allowed": ("DELETE", "/sites", {}),
    "too_large": ("POST", "/sites", {"content": b" " * 1_000_001}),
    "headers_too_large": ("GET", "/sites", {"headers": {"X-Large": "a" * 9000}}),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_example_of_a_problem_is_what_the_api_answers(one, document, name):
    method, path, options = ASKED[name]
    headers = {"Authorization": f"Bearer {one.key}", **options.get("headers", {})}
    answered = one.client.ask(method, path, **{**options, "headers": headers})
    assert answered.json() == document["components"]["examples"][name]["value"]
    shown = answer(made.problem(name)).headers
    assert {key: answered.headers[key] for key in shown} == dict(shown)


def test_headers_of_problems_and_pending_answers_are_told(document):
    components = document["components"]
    for at, operation in operations(document):
        for status, response in operation["responses"].items():
            told = set(response.get("headers", ()))
            wanted = {
                "202": {"Location", "Retry-After"},
                "401": {"WWW-Authenticate"},
                "429": {"Retry-After"},
                "503": {"Retry-After"},
            }
            assert told == wanted.get(status, set()), (at, status)
            assert told <= set(components["headers"])
    assert set(components["responses"]["method_not_allowed"]["headers"]) == {"Allow"}


def refusals() -> Iterator[tuple[str, State, Message]]:
    """Yield what the rules refuse, by the name of the example that shows it."""
    busy = after(given(*READY, keywords("k1")), RunRequested())
    other = State(busy.now, 600, Run(id="run-b"), busy.site, busy.account)
    yield "run_already_active", other, RunRequested()
    yield "nothing_to_do", given(*READY), RunRequested()
    yield "nothing_to_do_again", given(*READY), RunRequested(retry_of="run-a")
    without_credits = given(*OPENED[:-1], CREATED, keywords("k1"))
    yield "insufficient_credits", without_credits, RunRequested()
    yield "invalid_transition", after(busy, PauseRequested()), PauseRequested()
    drafted = drive(a_run(*waiting(4, "d1"))[1], until=5)
    article = ApprovalRequested(content_id="d1/4")
    yield "invalid_transition_of_an_article", drafted, article
    begun = (*OPENED[:2], granted(34), CREATED, config(), *waiting(4, "x", "y"))
    poor = after(given(*begun), RunRequested())
    broke = after(poor, report(in_flight(poor)[0], cost=30))
    yield "insufficient_credits_to_resume", broke, ResumeRequested()


def test_examples_of_refusals_say_what_the_rules_say():
    of_rules = {name for operation in OPERATIONS.values() for name in operation.problems}
    seen = set()
    for name, state, message in refusals():
        seen.add(name)
        receipt, shown = decide(state, message)[-1], made.problem(name)
        assert isinstance(receipt, MessageRefused), name
        assert receipt.code == shown.code, name
        assert set(receipt.numbers) == set(shown.numbers), name
        ours, theirs = (apart(text) for text in (shown.detail, receipt.detail))
        assert ours == theirs, name
    assert seen == of_rules - {"forbidden", "not_ready"}


def apart(text: str) -> str:
    """Return a rule's sentence without its numbers and states."""
    return re.sub(r"\d+|is \w+", "…", text)


# Examples


def test_every_operation_has_a_recorded_exchange(document, recorded):
    found = {at for at, _ in operations(document)}
    lacking = sorted(found - set(recorded))
    assert not lacking, f"tests/api/examples.py asks nothing of {lacking}; then {RECORD_AGAIN}"
    gone = sorted(set(recorded) - found)
    assert not gone, f"examples.json has {gone}, which the API has not; {RECORD_AGAIN}"


def test_the_recorded_examples_are_what_the_api_answers_now(recorded):
    now = json.loads(examples.text_of(examples.record()))
    stale = [at for at in sorted({*now, *recorded}) if now.get(at) != recorded.get(at)]
    assert not stale, f"the examples of {stale} are stale: {RECORD_AGAIN}"


def test_bodies_and_answers_are_shown_by_an_example(document):
    for at, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            assert content.get("examples"), f"{at}: no example of a body of {kind}"
        good = {status: one for status, one in operation["responses"].items() if status < "300"}
        assert good, at
        for status, response in good.items():
            for kind, content in response.get("content", {}).items():
                if kind != "image/*":
                    assert content.get("examples"), f"{at}: no example of {kind} under {status}"
        for one in operation["parameters"]:
            if one.get("required"):
                assert "example" in one, f"{at}: no example of {one['name']}"


def test_a_command_shows_how_it_is_answered_while_pending(document):
    commands = 0
    for at, operation in operations(document):
        if not at.startswith("GET "):
            (content,) = operation["responses"]["202"]["content"].values()
            assert content["examples"]["pending"]["value"]["status"] == "pending", at
            commands += 1
    assert commands > 10


def test_every_example_fits_its_schema(document):
    checked = 0
    for at, operation in operations(document):
        contents = [
            *operation.get("requestBody", {}).get("content", {}).values(),
            *(
                content
                for response in operation["responses"].values()
                for content in response.get("content", {}).values()
            ),
        ]
        for content in contents:
            for example in content.get("examples", {}).values():
                value = example if "$ref" not in example else resolved(document, example["$ref"])
                fits(document, content["schema"], value["value"], at)
                checked += 1
        for one in operation["parameters"]:
            if "example" in one:
                fits(document, one["schema"], one["example"], at)
    assert checked > 400


def test_no_example_has_a_secret(recorded):
    text = json.dumps(recorded)
    assert set(re.findall(r"\bsk_[A-Za-z0-9_-]+", text)) == {examples.FAKE}
    assert examples.ADMIN_TOKEN not in text


def test_the_examples_come_with_the_package():
    assert made.recorded().keys() == json.loads(examples.FILE.read_text("utf-8")).keys()


# The document as such

FULL = "https://json-schema.org/draft/2020-12/schema"
NAMED = {"type": "string", "minLength": 1}
EXAMPLE = {
    "type": "object",
    "properties": {"$ref": NAMED, "summary": NAMED, "value": True},
    "additionalProperties": False,
    "oneOf": [{"required": ["value"]}, {"required": ["$ref"]}],
}
CONTENT = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": "^[a-z]+/[a-z.+*-]+$"},
    "additionalProperties": {
        "type": "object",
        "properties": {
            "schema": {"$ref": FULL},
            "examples": {"type": "object", "additionalProperties": EXAMPLE},
        },
        "additionalProperties": False,
    },
}
HEADERS_MAP = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"$ref": NAMED, "description": NAMED, "schema": {"$ref": FULL}},
        "additionalProperties": False,
    },
}
RESPONSE = {
    "type": "object",
    "properties": {"description": NAMED, "headers": HEADERS_MAP, "content": CONTENT},
    "required": ["description"],
    "additionalProperties": False,
}
PARAMETER = {
    "type": "object",
    "properties": {
        "name": NAMED,
        "in": {"enum": ["query", "header", "path"]},
        "required": {"type": "boolean"},
        "description": NAMED,
        "schema": {"$ref": FULL},
        "example": True,
    },
    "required": ["name", "in", "schema"],
    "additionalProperties": False,
    "if": {"properties": {"in": {"const": "path"}}},
    "then": {"properties": {"required": {"const": True}}, "required": ["required"]},
}
OPERATION = {
    "type": "object",
    "properties": {
        "tags": {"type": "array", "items": NAMED},
        "summary": NAMED,
        "description": NAMED,
        "operationId": NAMED,
        "security": {"type": "array", "items": {"type": "object", "maxProperties": 1}},
        "parameters": {"type": "array", "items": PARAMETER},
        "requestBody": {
            "type": "object",
            "properties": {"required": {"type": "boolean"}, "content": CONTENT},
            "required": ["content"],
            "additionalProperties": False,
        },
        "responses": {
            "type": "object",
            "patternProperties": {"^[2-5][0-9][0-9]$": RESPONSE},
            "additionalProperties": False,
            "minProperties": 1,
        },
    },
    "required": ["operationId", "responses"],
    "additionalProperties": False,
}
# Of OpenAPI 3.1 what we use, and nothing else.
OPENAPI = {
    "type": "object",
    "properties": {
        "openapi": {"type": "string", "pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"]},
        "servers": {"type": "array", "items": {"type": "object", "required": ["url"]}},
        "tags": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": ["get", "put", "post", "delete"]},
                "additionalProperties": OPERATION,
            },
        },
        "components": {
            "type": "object",
            "properties": {
                "schemas": {"type": "object", "additionalProperties": {"$ref": FULL}},
                "responses": {"type": "object", "additionalProperties": RESPONSE},
                "examples": {"type": "object", "additionalProperties": EXAMPLE},
                "headers": HEADERS_MAP,
                "securitySchemes": {"type": "object"},
            },
            "patternProperties": {".": {"propertyNames": {"pattern": "^[a-zA-Z0-9._-]+$"}}},
            "additionalProperties": False,
        },
    },
    "required": ["openapi", "info", "paths"],
    "additionalProperties": False,
}


def test_the_document_is_openapi_3_1(document):
    Draft202012Validator(OPENAPI).validate(document)
    OpenAPI.model_validate(document)


def test_every_reference_leads_somewhere_and_every_component_is_used(document):
    text = json.dumps(document)
    references = set(re.findall(r'"\$ref": "([^"]+)"', text))
    for reference in references:
        resolved(document, reference)
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert schemas <= references


def test_path_parameters_are_those_of_the_path(document):
    for at, operation in operations(document):
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", at)), at
        places = [(one["name"], one["in"]) for one in operation["parameters"]]
        assert len(set(places)) == len(places), at


# The page


def test_the_page_shows_every_operation_with_examples_and_problems(client, document):
    page = client.ask("GET", "/docs").text
    for at, operation in operations(document):
        assert f'id="operation-{operation["operationId"]}"' in page, at
        section = page.partition(f'id="operation-{operation["operationId"]}"')[2]
        section = section.partition("</section>")[0]
        for one in operation["parameters"]:
            assert f"<code>{one['name']}</code>" in section, (at, one["name"])
        for name in problems_of(at, operation):
            assert f'href="#{made.problem(name).code}"' in section, (at, name)
        assert "<h4>Request</h4>" in section, at


def test_links_within_the_page_lead_somewhere(client):
    page = client.ask("GET", "/docs").text
    anchors = re.findall(r'id="([^"]+)"', page)
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)
    assert set(re.findall(r'href="([^#"][^"]*)"', page)) == {"/openapi.json", "/asyncapi.json"}


def test_the_page_needs_no_script_no_other_host_and_no_inline_style(client):
    page = client.ask("GET", "/docs").text.replace(OWN_PROVIDER["base_url"], "")
    assert not re.search(r"<(script|link|img|iframe|object|form)|https?://|javascript:", page)
    assert not re.search(r"<[^>]+\s(on\w+|style)=", page)


# What the tests above ask with


def problems_in(response):
    return response.get("content", {}).get(PROBLEM_JSON, {}).get("examples", {})


def codes_in(document, response):
    references = [one["$ref"] for one in problems_in(response).values()]
    return [resolved(document, reference)["value"]["code"] for reference in references]


def resolved(document, reference):
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def fits(document, schema, value, at):
    resource = Resource(contents=document, specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)
    whole = json.loads(json.dumps(schema).replace('"#/', '"urn:document#/'))
    found = list(Draft202012Validator(whole, registry=registry).iter_errors(value))
    assert not found, f"{at}: {found[0].message}; if the shape is meant to change, {RECORD_AGAIN}"
