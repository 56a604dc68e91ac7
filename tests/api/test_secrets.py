"""No key and no token is ever written down: not in logs, commands, tables or answers."""

import io
import json
import logging

import pytest
import sqlalchemy as sa

from projections import accounts
from services.logs import OneLine
from tests.api.world import ADMIN_TOKEN, impatience, silent

WRONG = "sk_canary-of-a-key-that-is-wrong-0123456789"
IDEMPOTENCY = "canary-of-an-idempotency-key"


def is_the_servers(record):
    """Tell whether it is no line of the client with which the test asks: it logs its own URLs."""
    return not record.name.startswith("http")


@pytest.fixture
def lines(caplog):
    """Return all that was logged, by whatever library, as it would be written."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(OneLine("api", [ADMIN_TOKEN]))
    handler.addFilter(is_the_servers)
    logging.getLogger().addHandler(handler)
    with caplog.at_level(logging.DEBUG):
        yield handler.stream.getvalue
    logging.getLogger().removeHandler(handler)


def rows_of(engine):
    """Return every row of every table as one text."""
    with engine.connect() as tx:
        names = sa.inspect(engine).get_table_names()
        assert names
        return "\n".join(
            repr(tuple(row))
            for name in names
            for row in tx.execute(sa.text(f"SELECT * FROM {name}"))
        )


def session(world, tenant):
    """Do what callers do, rightly and wrongly. Return the secrets and the answers to errors."""
    client = tenant.client
    headers = {"Idempotency-Key": IDEMPOTENCY}
    second = tenant.post("/account/keys", json={"role": "admin"}, headers=headers).json()
    keys = f"/admin/accounts/{tenant.account_id}/keys"
    third = client.ask("POST", keys, ADMIN_TOKEN, json={"role": "viewer"}, headers=headers).json()
    secrets = [tenant.key, second["api_key"], third["api_key"], ADMIN_TOKEN]
    tenant.start_run()
    tenant.write_article()
    assert tenant.post("/sites", json={"name": "x", "domain": "x.example"}).status_code == 201
    bad = [client.ask("POST", "/account/keys", ADMIN_TOKEN, json={"role": "admin"})]
    for secret in (*secrets, WRONG):
        bad += [
            client.ask("GET", "/account", f"{secret}x"),
            client.ask("GET", "/account", headers={"Authorization": f"Basic {secret}"}),
            client.ask("POST", "/admin/accounts", third["api_key"], json={"name": "x"}),
            client.ask("GET", f"/sites?limit={secret}", tenant.key),
            client.ask("GET", f"/sites?cursor={secret}", tenant.key),
            client.ask("GET", f"/automation/run?run_id={secret}", tenant.key),
            client.ask("GET", f"/writer/content/{secret}", tenant.key),
            client.ask("GET", f"/{secret}", tenant.key),
            client.ask("DELETE", f"/account/keys/{secret}", tenant.key),
            client.ask("DELETE", f"/admin/keys/{secret}", ADMIN_TOKEN),
            client.ask("POST", "/account/keys", tenant.key, json={"role": secret}),
            client.ask("POST", "/sites", tenant.key, content=f"{{{secret}".encode()),
            client.ask("POST", "/sites", tenant.key, headers={"Content-Type": secret}),
            client.ask(
                "POST", "/sites", tenant.key, headers={"Idempotency-Key": f"{secret}\xe9".encode()}
            ),
        ]
    world.script = silent
    with impatience():
        slow = tenant.post(f"/automation/pause?run_id={tenant.run_id}", headers=headers)
    assert slow.status_code in {202, 409}
    client.ask("GET", "/metrics")
    client.ask("DELETE", f"/account/keys/{second['key_id']}", tenant.key)
    assert {answer.status_code for answer in bad} <= {400, 401, 403, 404}
    return secrets, bad


def test_no_secret_is_in_a_log_a_command_a_table_or_an_error(world, one, lines, caplog):
    secrets, bad = session(world, one)
    one.client.start(world.key_uses.written()).result(timeout=60)
    records = [record for record in caplog.records if is_the_servers(record)]
    written = lines() + "".join(f"{vars(one)} {one.getMessage()}" for one in records)
    sent = "".join(
        command.model_dump_json() + command.message.model_dump_json() for command in world.sent
    )
    tables = rows_of(world.engine) + rows_of(world.pending._engine)
    answers = "".join(answer.text + repr(answer.headers) for answer in bad)
    metrics = one.client.ask("GET", "/metrics").text
    assert IDEMPOTENCY in tables  # the API's own table, where a key is kept for a day
    for place in (sent, rows_of(world.engine)):
        assert IDEMPOTENCY not in place
    for secret in (*secrets, WRONG):
        for place in (written, sent, tables, answers, metrics):
            assert secret not in place
    assert IDEMPOTENCY not in written + answers


def test_a_bug_whose_text_holds_secrets_is_logged_without_them(one, lines, monkeypatch):
    def broken(*_):
        raise RuntimeError(f"header Bearer {WRONG}, key {one.key}, token {ADMIN_TOKEN}")

    monkeypatch.setattr("projections.ledger.entries", broken)
    answer = one.get("/account/ledger")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    (line,) = [line for line in lines().splitlines() if "a request failed" in line]
    fields = json.loads(line)
    assert fields["error"].startswith("Traceback")
    text = "RuntimeError: header Bearer [secret], key [secret], token [secret]"
    assert fields["error"].endswith(text)
    for secret in (one.key, WRONG, ADMIN_TOKEN):
        assert secret not in answer.text + line


def test_a_key_is_shown_by_no_representation_of_what_the_api_holds(world, one):
    with world.engine.connect() as tx:
        row = accounts.key(tx, one.key_id)
    assert row is not None
    assert row.digest not in repr(row)
    assert ADMIN_TOKEN not in repr(world.app.state.parts)
