"""The API's documentation as one page of plain HTML: no script, nothing from another host."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from services.api.problems import CODES

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8886; padding: .5rem 0; }
code, pre { font: .875rem/1.4 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .5rem; background: #8882; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .1rem 1rem .1rem 0; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; }
"""
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)


def page(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
    yield f"<p>{escape(info.get('description', ''))}</p>"
    yield '<p>Machines read <a href="/openapi.json">openapi.json</a> and '
    yield '<a href="/asyncapi.json">asyncapi.json</a>.</p>'
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _operation(method, path, operation)
    yield "<h2>Errors</h2>"
    for code, kind in CODES.items():
        yield f'<section id="{escape(code)}"><h3>{escape(code)}</h3>'
        yield f"<p>{kind.status}: {escape(kind.title)}.</p></section>"
    yield "<h2>Schemas</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        named = escape(name)
        yield f'<section id="schema-{named}"><h3>{named}</h3>{_json(schema)}</section>'
    yield "</body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<section><h3><span class="method">{escape(method.upper())}</span> '
    yield f"<code>{escape(path)}</code></h3><p>{escape(operation.get('description', ''))}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>"
        for one in parameters:
            need = "required" if one.get("required") else ""
            about = escape(one.get("description", ""))
            yield f"<tr><td><code>{escape(one['name'])}</code> {need}</td>"
            yield f"<td>{escape(one['in'])}</td><td>{_kind(one['schema'])}</td>"
            yield f"<td>{about}</td></tr>"
        yield "</table>"
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{escape(kind)}</code>:</p>{_json(body['schema'])}"
    yield "<table><tr><th>answer</th><th></th><th></th></tr>"
    for status, response in operation["responses"].items():
        kinds = ", ".join(
            f"{escape(kind)} {_kind(body.get('schema', {}))}"
            for kind, body in response.get("content", {}).items()
        )
        about = escape(response.get("description", ""))
        yield f"<tr><td>{escape(status)}</td><td>{about}</td><td>{kinds}</td></tr>"
    yield "</table></section>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    return escape(str(schema.get("type", "")))


def _json(schema: Mapping[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"
