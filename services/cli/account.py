"""`septet account`: open one, grant it credits, look at it, manage its keys and its AI provider."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from services.cli.client import BASE, Json, has_key, sign_in
from services.cli.output import (
    Code,
    Either,
    Failed,
    command,
    emit,
    facts,
    group,
    local,
    needed,
    table,
)

app = group("Accounts: open one, grant credits, look at the balance, manage keys, choose an AI.")
keys = group("API keys of an account: list, create and revoke them, with a key of the role admin.")
app.add_typer(keys, name="keys")
ai = group("The account's own AI provider: set, show and drop it; a key of the role admin sets it.")
app.add_typer(ai, name="ai")


class Role(StrEnum):
    """What a key may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


AnyAccount = Annotated[
    str | None,
    typer.Option("--account", help="Account id, with the admin token; none: one's own account"),
]


@command(app, "create")
def create(
    name: Annotated[str, Either("Name of the tenant")],
    credit: Annotated[int, typer.Option("--credits", min=0, help="Whole credits at first")] = 0,
) -> None:
    """Open an account and show its first API key, this once. Needs the admin token."""
    body = {"name": name, "credits": credit}
    made = sign_in("admin").post(f"{BASE}/admin/accounts", body)
    text = (
        f"{made['account_id']} opened with {credit} credits\n"
        f"API key, shown only now: {made['api_key']}\n"
        f"Use it: export SEPTET_API_KEY={made['api_key']}"
    )
    emit(made, text)


@command(app, "credit")
def credit(
    account: Annotated[str, Either("Account id")],
    amount: Annotated[int, Either("Whole credits", "--amount", "--credits", min=1)],
    reason: Annotated[str, typer.Option(help="Why, for the ledger")] = "granted by hand",
) -> None:
    """Grant an account credits. Needs the admin token."""
    body = {"amount": amount, "reason": reason}
    client = sign_in("admin")
    client.post(f"{BASE}/admin/accounts/{account}/credits", body)
    now = client.get(f"{BASE}/admin/accounts/{account}")
    emit(now, f"{account} credited with {amount}: balance {now['balance']}")


@command(app, "show")
def show(
    account: Annotated[str | None, Either("Account id; none: the one of SEPTET_API_KEY")] = None,
) -> None:
    """Show an account's balance: one's own, or any with the admin token."""
    if account is None or has_key():
        mine = sign_in("account").get(f"{BASE}/account")
        if account in {None, mine["account_id"]}:
            _show(mine)
            return
    _show(sign_in("admin").get(f"{BASE}/admin/accounts/{account}"))


def _show(found: Json) -> None:
    shown = {
        "account": found["account_id"],
        "name": found["name"],
        "balance": found["balance"],
        "held": found["held_credits"],
        "available": found["available_credits"],
    }
    emit(found, facts(shown))


@command(keys, "list")
def list_keys(
    account: AnyAccount = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many")] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before")] = None,
) -> None:
    """List API keys with their roles and when each was last used; secrets are shown by nothing."""
    client = sign_in("account" if account is None else "admin")
    found = client.get(_keys_of(account), limit=limit, cursor=cursor)
    heads = ("key", "role", "created", "revoked", "last used")
    rows = [
        (
            one["key_id"],
            one["role"],
            local(one["created_at"]),
            one["revoked"],
            local(one["last_used_at"]),
        )
        for one in found["items"]
    ]
    more = f"\nMore with --cursor {found['next_cursor']}" if found["next_cursor"] else ""
    emit(found, table(heads, rows) + more)


@command(keys, "create")
def create_key(
    role: Annotated[
        Role | None, typer.Option(help="viewer reads, operator also acts, admin also keys")
    ] = None,
    account: AnyAccount = None,
) -> None:
    """Add an API key and show its secret, this once."""
    chosen = needed("a role (viewer, operator or admin)", role)
    client = sign_in("account" if account is None else "admin")
    made = client.post(_keys_of(account), {"role": chosen.value})
    text = f"{made['key_id']} has the role {chosen}\nAPI key, shown only now: {made['api_key']}"
    emit(made, text)


@command(keys, "revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Key id, as keys list shows it")],
    account: AnyAccount = None,
) -> None:
    """Make an API key useless from now on."""
    if account is None:
        sign_in("account").delete(f"{_keys_of(None)}/{key}")
    else:
        sign_in("admin").delete(f"{BASE}/admin/keys/{key}")
    emit({"revoked": key}, f"{key} revoked")


def _keys_of(account: str | None) -> str:
    return f"{BASE}/account/keys" if account is None else f"{BASE}/admin/accounts/{account}/keys"


@command(ai, "show")
def show_ai() -> None:
    """Show whom the account's runs ask, and with which models; keys are shown by nothing."""
    _show_ai(sign_in("account").get(f"{BASE}/account/ai"))


@command(ai, "set")
def set_ai(
    url: Annotated[
        str, typer.Argument(help="Where the provider is, up to and with /v1: https://…/v1")
    ],
    *,
    text_model: Annotated[str, typer.Option(help="Model that writes")],
    image_model: Annotated[
        str | None, typer.Option(help="Model that draws; none: Septet draws cards")
    ] = None,
    embedding_model: Annotated[
        str | None, typer.Option(help="Model that compares keywords; none: Septet's own")
    ] = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the provider's API key from stdin")
    ] = False,
    no_key: Annotated[
        bool, typer.Option("--no-key", help="The provider asks for no API key")
    ] = False,
) -> None:
    """Have the account's next runs ask its own provider. Asks for the provider's API key."""
    body = {"base_url": url, "text_model": text_model}
    chosen = {
        "image_model": image_model,
        "embedding_model": embedding_model,
        "api_key": None if no_key else _provider_key(from_stdin=key_stdin),
    }
    body |= {name: value for name, value in chosen.items() if value is not None}
    _show_ai(sign_in("account").put(f"{BASE}/account/ai", body))


@command(ai, "drop")
def drop_ai() -> None:
    """Have the account's next runs ask the installation's provider; the key is forgotten."""
    client = sign_in("account")
    client.delete(f"{BASE}/account/ai")
    _show_ai(client.get(f"{BASE}/account/ai"))


def _provider_key(*, from_stdin: bool) -> str:
    """Return the key, which no argument holds: those can be seen by everybody on a machine."""
    if from_stdin:
        key = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        key = typer.prompt("API key of the provider", hide_input=True, err=True).strip()
    else:
        key = ""
    if not key:
        remedy = "Send it with --key-stdin, or say --no-key where the provider asks for none"
        raise Failed(f"the provider's API key is missing. {remedy}", Code.USAGE)
    return str(key)


def _show_ai(found: Json) -> None:
    is_own = found["source"] == "account"
    hint = f", ends in {found['key_hint']}" if found["key_hint"] else ""
    shown = {
        "provider": "the account's own" if is_own else "the installation's",
        "address": found["base_url"],
        "text model": found["text_model"],
        "image model": found["image_model"],
        "embedding model": found["embedding_model"],
        "key": (f"stored{hint}" if found["has_key"] else "none") if is_own else None,
        "chosen": local(found["chosen_at"]),
    }
    emit(found, facts(shown))
