"""`septet account`: open one, grant it credits, look at it."""

from typing import Annotated

import typer

from services.cli.client import BASE, Json, has_key, sign_in
from services.cli.output import command, emit, facts, group, needed

app = group("Accounts: open one, grant credits, look at the balance.")


@command(app, "create")
def create(
    name: Annotated[str | None, typer.Argument(help="Name of the tenant")] = None,
    credit: Annotated[int, typer.Option("--credits", min=0, help="Whole credits at first")] = 0,
    named: Annotated[str | None, typer.Option("--name", help="The same as NAME")] = None,
) -> None:
    """Open an account and show its first API key, this once. Needs the admin token."""
    body = {"name": needed("a name", name, named), "credits": credit}
    made = sign_in("admin").post(f"{BASE}/admin/accounts", body)
    text = (
        f"{made['account_id']} opened with {credit} credits\n"
        f"API key, shown only now: {made['api_key']}\n"
        f"Use it: export SEPTET_API_KEY={made['api_key']}"
    )
    emit(made, text)


@command(app, "credit")
def credit(
    account: Annotated[str, typer.Argument(help="Account id")],
    amount: Annotated[int | None, typer.Argument(min=1, help="Whole credits")] = None,
    amount_option: Annotated[
        int | None, typer.Option("--amount", "--credits", min=1, help="The same as AMOUNT")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger")] = "granted by hand",
) -> None:
    """Grant an account credits. Needs the admin token."""
    granted = needed("an amount", amount, amount_option)
    body = {"amount": granted, "reason": reason}
    client = sign_in("admin")
    client.post(f"{BASE}/admin/accounts/{account}/credits", body)
    now = client.get(f"{BASE}/admin/accounts/{account}")
    emit(now, f"{account} credited with {granted}: balance {now['balance']}")


@command(app, "show")
def show(
    account: Annotated[
        str | None, typer.Argument(help="Account id; none: the one of SEPTET_API_KEY")
    ] = None,
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
