"""The API's documentation as one page of plain HTML: no script, nothing from another host."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby
from typing import Any
from urllib.parse import quote

from services.api.problems import CODES

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8886; padding: .5rem 0; }
code, pre { font: .875rem/1.4 ui-monospace, monospace; }
pre { overflow: auto; max-height: 28rem; padding: .5rem; background: #8882; }
table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
nav ul { columns: 22rem; list-style: none; padding: 0; }
h4 { margin: 1rem 0 .25rem; }
summary { cursor: pointer; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; }
"""
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
PROBLEM_JSON = "application/problem+json"
SIGNED = {"account_key": "an account's API key", "admin_token": "the admin token"}

Operation = Mapping[str, Any]


def page(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document that `schemas.complete` has made."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
    yield f"<p>{escape(info.get('description', ''))}</p>"
    yield '<p>Machines read <a href="/openapi.json">openapi.json</a> and '
    yield '<a href="/asyncapi.json">asyncapi.json</a>. Further down: <a href="#errors">errors</a>, '
    yield '<a href="#schemas">schemas</a>.</p>'
    by_tag = _by_tag(document)
    yield "<nav>"
    for tag, operations in by_tag.items():
        yield f'<h3><a href="#tag-{escape(tag)}">{escape(tag)}</a></h3><ul>'
        for method, path, operation in operations:
            yield f'<li><a href="#{_anchor(operation)}">{escape(method.upper())} '
            yield f"{escape(path)}</a></li>"
        yield "</ul>"
    yield "</nav>"
    about = {one["name"]: one["description"] for one in document.get("tags", ())}
    for tag, operations in by_tag.items():
        yield f'<h2 id="tag-{escape(tag)}">{escape(tag)}</h2><p>{escape(about.get(tag, ""))}</p>'
        for method, path, operation in operations:
            yield from _operation(document, method, path, operation)
    yield from _errors(document)
    yield '<h2 id="schemas">Schemas</h2>'
    for name, schema in sorted(document["components"]["schemas"].items()):
        named = escape(name)
        yield f'<section id="schema-{named}"><h3>{named}</h3>{_json(schema)}</section>'
    yield "</body></html>"


def _by_tag(document: Mapping[str, Any]) -> dict[str, list[tuple[str, str, Operation]]]:
    found: dict[str, list[tuple[str, str, Operation]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = next(iter(operation.get("tags", ())), "others")
            found.setdefault(tag, []).append((method, path, operation))
    return found


def _anchor(operation: Operation) -> str:
    return escape(f"operation-{operation['operationId']}")


def _operation(
    document: Mapping[str, Any], method: str, path: str, operation: Operation
) -> Iterator[str]:
    yield f'<section id="{_anchor(operation)}"><h3><span class="method">{escape(method.upper())}'
    yield f"</span> <code>{escape(path)}</code></h3>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    schemes = [scheme for one in operation.get("security", ()) for scheme in one]
    signed = " or ".join(SIGNED.get(scheme, scheme) for scheme in schemes)
    yield f"<p>With {escape(signed)}.</p>" if signed else "<p>Without a key.</p>"
    yield from _parameters(operation.get("parameters", ()))
    yield from _request(method, path, operation)
    yield from _answers(operation["responses"])
    yield from _problems(document, operation["responses"])
    yield "</section>"


def _parameters(parameters: Any) -> Iterator[str]:
    if not parameters:
        return
    yield "<h4>Parameters</h4><table><tr><th>name</th><th>in</th><th>type</th><th></th></tr>"
    for one in parameters:
        need = ", required" if one.get("required") else ""
        yield f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}{need}</td>"
        yield f"<td>{_kind(one['schema'])}{_standard(one['schema'])}</td>"
        yield f"<td>{escape(one.get('description', ''))}</td></tr>"
    yield "</table>"


def _standard(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None else f", else {escape(str(default))}"


def _request(method: str, path: str, operation: Operation) -> Iterator[str]:
    body = operation.get("requestBody", {})
    yield f"<h4>Request</h4><pre>{escape(f'{method.upper()} {_url(path, operation)}')}</pre>"
    if body and not body.get("required"):
        yield "<p>The body may be left out.</p>"
    for kind, content in body.get("content", {}).items():
        yield f"<p>Body, <code>{escape(kind)}</code> {_kind(content['schema'])}:</p>"
        for example in content.get("examples", {}).values():
            yield _json(example["value"])


def _url(path: str, operation: Operation) -> str:
    """Return the example's address: what is required, and what the example has."""
    query = []
    for one in operation.get("parameters", ()):
        value = quote(str(one.get("example", "…")), safe="…")
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", value)
        elif one["in"] == "query" and (one.get("required") or "example" in one):
            query.append(f"{one['name']}={value}")
    return path + (f"?{'&'.join(query)}" if query else "")


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        content = response.get("content", {})
        if PROBLEM_JSON in content:
            continue
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in content)
        schemas = [_kind(body.get("schema", {})) for body in content.values()]
        yield f"<h4>Answer {escape(status)}</h4><p>{escape(response.get('description', ''))}"
        yield f": {kinds} {', '.join(schemas)}.</p>" if kinds else ".</p>"
        for body in content.values():
            for name, example in body.get("examples", {}).items():
                yield f"<p>{escape(name)}:</p>" if len(body["examples"]) > 1 else ""
                yield _json(example["value"])


def _problems(document: Mapping[str, Any], responses: Mapping[str, Any]) -> Iterator[str]:
    yield "<details><summary>Problems: "
    rows = [
        (status, example["code"], example["detail"], ", ".join(response.get("headers", ())))
        for status, response in responses.items()
        for example in _examples(document, response)
    ]
    yield ", ".join(
        f"<code>{escape(code)}</code>" for code in dict.fromkeys(row[1] for row in rows)
    )
    yield "</summary><table><tr><th>status</th><th>code</th><th>for example</th><th>headers</th>"
    yield "</tr>"
    for status, code, detail, headers in rows:
        yield f'<tr><td>{escape(status)}</td><td><a href="#{escape(code)}">{escape(code)}</a></td>'
        yield f"<td>{escape(detail)}</td><td>{escape(headers)}</td></tr>"
    yield "</table></details>"


def _examples(
    document: Mapping[str, Any], response: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    known = document["components"].get("examples", {})
    for reference in response.get("content", {}).get(PROBLEM_JSON, {}).get("examples", {}).values():
        yield known[reference["$ref"].rpartition("/")[2]]["value"]


def _errors(document: Mapping[str, Any]) -> Iterator[str]:
    yield '<h2 id="errors">Errors</h2><p>Every error is <code>application/problem+json</code> '
    yield "with these members; a rule adds its numbers. <code>code</code> is stable.</p>"
    shown = [one["value"] for one in document["components"].get("examples", {}).values()]
    shown.sort(key=lambda value: list(CODES).index(value["code"]))
    by_code = {code: list(found) for code, found in groupby(shown, lambda value: value["code"])}
    for code, kind in CODES.items():
        yield f'<section id="{escape(code)}"><h3>{escape(code)}</h3>'
        yield f"<p>{kind.status}: {escape(kind.title)}.</p>"
        yield from (_json(value) for value in by_code.get(code, ()))
        yield "</section>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(_kind(one) for one in kinds)
    return escape(str(schema.get("type", "")))


def _json(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"
