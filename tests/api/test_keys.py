"""An account's keys, as their owner and the operator see them, and when each was last used."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from projections import accounts
from services.api.key_uses import MOVE_ON, key_uses, open_key_uses
from tests.api.world import refuse

ADMIN = "the-admin-token"
AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
AWAY = sa.exc.OperationalError("insert", {}, sqlite3.OperationalError("disk full"))


def add(tenant, role):
    answer = tenant.post("/account/keys", json={"role": role})
    assert answer.status_code == 201, answer.text
    return answer.json()


def listed(tenant, path="/account/keys", key=None):
    """Return the keys as the list shows them once all uses are written."""
    tenant.client.start(tenant.world.key_uses.written()).result(timeout=60)
    answer = tenant.client.ask("GET", path, key or tenant.key)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_an_admin_key_adds_keys_whose_secret_is_shown_once(world, one):
    made = add(one, "operator")
    assert set(made) == {"key_id", "api_key", "role"}
    assert one.client.ask("GET", "/account", made["api_key"]).json() == one.get("/account").json()
    assert (world.sent[-1].actor, world.sent[-1].account_id) == (one.key_id, one.account_id)
    shown = one.get("/account/keys").text
    assert made["key_id"] in shown
    assert made["api_key"] not in shown
    assert "digest" not in shown


def test_the_same_request_gives_the_same_key(one):
    def ask(role):
        headers = {"Idempotency-Key": "again"}
        return one.post("/account/keys", json={"role": role}, headers=headers)

    first, second = ask("viewer"), ask("viewer")
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert len(listed(one)) == 2
    assert ask("admin").status_code == 409


def test_the_list_says_of_each_key_what_it_may_and_whether_it_still_may(world, one):
    world.now += timedelta(hours=1)
    viewer = add(one, "viewer")
    one.client.ask("DELETE", f"/account/keys/{viewer['key_id']}", one.key)
    first, second = listed(one)
    assert first == {
        "key_id": one.key_id,
        "role": "admin",
        "created_at": "2026-03-01T09:00:00Z",
        "revoked": False,
        "last_used_at": "2026-03-01T10:00:00Z",
    }
    assert second == {
        "key_id": viewer["key_id"],
        "role": "viewer",
        "created_at": "2026-03-01T10:00:00Z",
        "revoked": True,
        "last_used_at": None,
    }
    path = f"/admin/accounts/{one.account_id}/keys"
    assert listed(one, path, ADMIN) == [first, second]


def test_keys_are_listed_page_by_page_to_owner_and_operator(client, one, other):
    made = [one.key_id, *(add(one, "viewer")["key_id"] for _ in range(4))]
    operators = f"/admin/accounts/{one.account_id}/keys"
    for path, key in (("/account/keys", one.key), (operators, ADMIN)):
        found, cursor = [], ""
        while cursor is not None:
            page = client.ask("GET", f"{path}?limit=2&cursor={cursor}", key).json()
            found += [item["key_id"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert found == made
    cursor = one.get("/account/keys?limit=2").json()["next_cursor"]
    assert other.get(f"/account/keys?cursor={cursor}").status_code == 400
    assert client.ask("GET", f"{operators}?cursor={cursor}", ADMIN).status_code == 400
    assert one.get("/account/keys?limit=0").status_code == 400


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_keys_of_the_role_admin_manage_keys(world, client, one, role):
    key = add(one, role)["api_key"]
    before = len(world.sent)
    asked = [
        client.ask("GET", "/account/keys", key),
        client.ask("POST", "/account/keys", key, json={"role": "admin"}),
        client.ask("DELETE", f"/account/keys/{one.key_id}", key),
        client.ask("DELETE", "/account/keys/key-unknown", key),
    ]
    assert {(one.status_code, one.json()["code"]) for one in asked} == {(403, "forbidden")}
    assert len(world.sent) == before


def test_the_operators_list_is_the_operators(client, one):
    path = f"/admin/accounts/{one.account_id}/keys"
    assert one.get(path).status_code == 403
    assert client.ask("GET", path).status_code == 401
    assert client.ask("GET", "/admin/accounts/account-x/keys", ADMIN).status_code == 404
    for method, own in (("GET", "/account/keys"), ("DELETE", f"/account/keys/{one.key_id}")):
        assert client.ask(method, own, ADMIN).status_code == 401


def test_a_foreign_key_id_answers_as_an_unknown_one(world, one, other):
    before = len(world.sent)
    foreign = one.client.ask("DELETE", f"/account/keys/{other.key_id}", one.key)
    unknown = one.client.ask("DELETE", "/account/keys/key-unknown", one.key)
    assert foreign.status_code == 404
    assert (foreign.content, foreign.headers) == (unknown.content, unknown.headers)
    assert len(world.sent) == before
    assert other.get("/account").status_code == 200
    assert other.key_id not in one.get("/account/keys").text


def test_a_key_may_revoke_another_and_itself(client, one):
    second = add(one, "admin")
    assert client.ask("DELETE", f"/account/keys/{one.key_id}", second["api_key"]).status_code == 204
    assert one.get("/account").status_code == 401
    path = f"/account/keys/{second['key_id']}"
    assert client.ask("DELETE", path, second["api_key"]).status_code == 204
    assert client.ask("GET", "/account", second["api_key"]).status_code == 401


def test_what_the_rules_refuse_is_refused(world, one):
    world.script = refuse("not_found")
    assert one.client.ask("DELETE", f"/account/keys/{one.key_id}", one.key).status_code == 404
    assert one.get("/account").status_code == 200


@pytest.mark.parametrize("bad", [{}, {"role": "owner"}, {"role": 1}, {"role": "admin", "x": 1}])
def test_a_role_that_is_none_is_a_400(world, one, bad):
    before = len(world.sent)
    assert one.post("/account/keys", json=bad).status_code == 400
    assert len(world.sent) == before


def test_a_store_that_finds_what_is_not_the_same_lets_nobody_in(one, other, monkeypatch):
    with one.world.engine.connect() as tx:
        rows = {key_id: accounts.key(tx, key_id) for key_id in (one.key_id, other.key_id)}
    monkeypatch.setattr("projections.accounts.find_key", lambda *_: rows[other.key_id])
    assert other.get("/account").status_code == 200
    assert one.get("/account").status_code == 401
    assert one.client.ask("GET", "/account", other.key.upper()).status_code == 401


def test_a_use_is_noted_at_most_once_a_minute(world, one, monkeypatch):
    writes = []
    write = world.key_uses.write
    monkeypatch.setattr(world.key_uses, "write", lambda rows: (writes.append(rows), write(rows)))
    for seconds in (0, 30, 29, 0, 1, 59):
        world.now += timedelta(seconds=seconds)
        for _ in range(3):
            one.get("/account")
        one.client.start(world.key_uses.written()).result(timeout=60)
    assert len(writes) == 1
    assert listed(one)[0]["last_used_at"] == "2026-03-01T09:01:00Z"


def test_a_wrong_key_and_a_revoked_one_are_no_use(one):
    made = add(one, "viewer")
    one.client.ask("DELETE", f"/account/keys/{made['key_id']}", one.key)
    for wrong in (made["api_key"], "sk_wrong", ADMIN, ""):
        one.client.ask("GET", "/account", wrong)
    assert {item["key_id"]: item["last_used_at"] for item in listed(one)}[made["key_id"]] is None


def test_a_table_that_is_away_fails_no_request_and_is_written_later(world, one, monkeypatch):
    world.now += timedelta(minutes=5)
    second = add(one, "viewer")
    one.client.start(world.key_uses.written()).result(timeout=60)
    write = world.key_uses.write

    def away(_):
        raise AWAY

    world.now += timedelta(minutes=5)
    monkeypatch.setattr(world.key_uses, "write", away)
    assert one.client.ask("GET", "/account", second["api_key"]).status_code == 200
    one.client.start(world.key_uses.written()).result(timeout=60)
    monkeypatch.setattr(world.key_uses, "write", write)
    world.now += timedelta(seconds=1)
    one.get("/account")
    one.client.start(world.key_uses.written()).result(timeout=60)
    times = [item["last_used_at"] for item in listed(one)]
    assert times == ["2026-03-01T09:10:01Z", "2026-03-01T09:10:00Z"]


def test_a_slow_table_delays_no_request(world, one, monkeypatch):
    free = threading.Event()
    monkeypatch.setattr(world.key_uses, "write", lambda _: free.wait(10))
    world.now += timedelta(minutes=5)
    try:
        assert one.get("/account").status_code == 200
        assert one.get("/account").status_code == 200
        assert not free.is_set()
    finally:
        free.set()


def test_a_list_without_its_table_is_a_503(world, one, monkeypatch):
    def away(*_):
        raise AWAY

    monkeypatch.setattr(world.key_uses, "last", away)
    answer = one.get("/account/keys")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def use(key_id, at):
    row = {"key_id": key_id, "account_id": "account-1", "last_used_at": f"{at:%FT%T}.000000Z"}
    return {key_id: row}


def test_processes_that_share_the_table_only_move_it_forward(tmp_path):
    url = f"sqlite:///{tmp_path / 'api.db'}"
    first, second = open_key_uses(url), open_key_uses(url)
    first.write(use("key-1", AT + timedelta(minutes=2)))
    second.write(use("key-1", AT + timedelta(minutes=1)) | use("key-2", AT))
    ids = ["key-1", "key-2", "key-3"]
    expected = {"key-1": AT + timedelta(minutes=2), "key-2": AT}
    assert first.last("account-1", ids) == second.last("account-1", ids) == expected
    assert first.last("account-2", ids) == {}
    for each in (first, second):
        each.close()


def test_postgresql_is_told_the_same():
    told = str(MOVE_ON.postgresql.compile(dialect=postgresql.dialect()))
    assert "WHERE key_uses.last_used_at < excluded.last_used_at" in told
    assert all(f"%({name})s" in told for name in key_uses.columns.keys())  # noqa: SIM118  # a tuple's
