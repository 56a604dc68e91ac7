"""`septet site`: add a web site, list them."""

import re
from typing import Annotated

import typer

from services.cli.client import BASE, sign_in
from services.cli.output import Either, command, emit, group, table

app = group("Web sites: add one, list them.")


@command(app, "create")
def create(
    name: Annotated[str, Either("Name of the site")],
    domain: Annotated[str, typer.Option(help="Domain, such as coffee.example")] = "",
    timezone: Annotated[str, typer.Option(help="Time zone, such as Europe/Berlin")] = "UTC",
) -> None:
    """Add a site to the account."""
    body = {"name": name, "domain": domain or _domain_of(name), "timezone": timezone}
    made = sign_in("account").post(f"{BASE}/sites", body)
    emit(made, f"{made['site_id']} added: {name}")


@command(app, "list")
def show_all() -> None:
    """List the account's sites."""
    found = sign_in("account").get(f"{BASE}/sites")
    rows = [(one["site_id"], one["name"], one["domain"], one["timezone"]) for one in found["items"]]
    emit(found, table(("site", "name", "domain", "zone"), rows) if rows else "No sites yet.")


def _domain_of(name: str) -> str:
    """Return a domain that belongs to nobody (RFC 2606), for a site that has none yet."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return f"{'-'.join(words) or 'site'}.example"
