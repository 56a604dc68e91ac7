"""Keys, roles, and what an operator does with accounts."""

import hashlib

import pytest

ADMIN = "the-admin-token"
BAD = (None, "", "x", "Basic abc", "Bearer", "Bearer ", "Bearer  ", "Bearer nobody", "bearer ü")


def ask(client, path, authorization):
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    return client.ask("GET", path, headers=headers)


def test_a_missing_or_wrong_key_is_always_the_same_401(client):
    paths = ("/sites", "/account", "/admin/accounts/account-x", "/commands/cmd-x")
    answers = [ask(client, path, bad) for path in paths for bad in BAD]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["code"] == "unauthenticated"
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers)


def test_an_unauthenticated_caller_learns_nothing_of_parameters(client):
    assert client.ask("GET", "/automation/config").status_code == 401
    assert client.ask("POST", "/sites", content=b"{").status_code == 401
    assert client.ask("GET", "/automation/history?limit=0").status_code == 401


def test_the_admin_token_is_no_account_and_a_key_is_no_admin(one):
    assert one.client.ask("GET", "/account", ADMIN).status_code == 401
    answer = one.post("/admin/accounts", json={"name": "mine", "credits": 5})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_new_account_has_its_credits_and_a_key_shown_once(world, client):
    opened = client.ask("POST", "/admin/accounts", ADMIN, json={"name": "New", "credits": 7})
    assert opened.status_code == 201
    key, account_id = opened.json()["api_key"], opened.json()["account_id"]
    shown = client.ask("GET", "/account", key).json()
    assert shown == {
        "account_id": account_id,
        "name": "New",
        "balance": 7,
        "held_credits": 0,
        "available_credits": 7,
    }
    assert client.ask("GET", f"/admin/accounts/{account_id}", ADMIN).json() == shown
    command = world.sent[0]
    assert command.message.key.digest == hashlib.sha256(key.encode()).hexdigest()
    assert (command.actor, command.account_id) == ("admin", account_id)
    assert key not in command.model_dump_json() + command.message.model_dump_json()


def test_the_same_key_opens_one_account_and_gives_the_same_secret(world, client):
    def open_one():
        return client.ask(
            "POST",
            "/admin/accounts",
            ADMIN,
            json={"name": "New", "credits": 7},
            headers={"Idempotency-Key": "open"},
        )

    first, second = open_one(), open_one()
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert len(world.sent) == 1


def test_every_admin_endpoint_is_the_operators_alone(world, client, one):
    ids = {"account_id": one.account_id, "key_id": one.key_id}
    paths = {path: of for path, of in world.app.openapi()["paths"].items() if "/v1/admin/" in path}
    before = len(world.sent)
    for path, methods in paths.items():
        for method in methods:
            asked = (method.upper(), path.format(**ids))
            mine, nobodys = client.ask(*asked, one.key), client.ask(*asked)
            assert (mine.status_code, mine.json()["code"]) == (403, "forbidden"), path
            assert (nobodys.status_code, nobodys.json()["code"]) == (401, "unauthenticated"), path
    assert len(paths) >= 5
    assert len(world.sent) == before


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_roles_may_what_the_contract_says(client, one, role):
    issued = client.ask(
        "POST", f"/admin/accounts/{one.account_id}/keys", ADMIN, json={"role": role}
    )
    assert issued.status_code == 201
    assert issued.json()["role"] == role
    key = issued.json()["api_key"]
    assert client.ask("GET", "/account", key).status_code == 200
    written = client.ask("POST", f"/automation/run_now?site_id={one.site_id}", key)
    assert written.status_code == (403 if role == "viewer" else 202)
    path = f"/admin/accounts/{one.account_id}/keys"
    assert client.ask("POST", path, key, json={"role": "admin"}).status_code == 403


def test_a_viewer_may_send_nothing(world, client, one):
    path = f"/admin/accounts/{one.account_id}/keys"
    viewer = client.ask("POST", path, ADMIN, json={"role": "viewer"}).json()["api_key"]
    before = len(world.sent)
    for url, methods in world.app.openapi()["paths"].items():
        for method in methods:
            if method != "get" and not url.startswith("/api/v1/admin"):
                answer = client.ask(method.upper(), url, viewer)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), url
    assert len(world.sent) == before


def test_a_revoked_key_is_useless_at_once(client, one):
    assert client.ask("DELETE", f"/admin/keys/{one.key_id}", ADMIN).status_code == 204
    assert one.get("/account").status_code == 401
    assert client.ask("DELETE", "/admin/keys/key-unknown", ADMIN).status_code == 404


def test_credits_are_granted_to_the_account_that_is_named(client, one, other):
    path = f"/admin/accounts/{one.account_id}/credits"
    granted = client.ask("POST", path, ADMIN, json={"amount": 5, "reason": "gift"})
    assert granted.json() == {"account_id": one.account_id, "amount": 5, "reason": "gift"}
    assert one.get("/account").json()["balance"] == 1005
    assert other.get("/account").json()["balance"] == 1000
    entry = one.get("/account/ledger").json()["items"][0]
    assert (entry["type"], entry["amount"], entry["run_id"]) == ("grant", 5, None)
    for bad in ({"amount": 0, "reason": "r"}, {"amount": "5", "reason": "r"}, {"amount": 5}):
        assert client.ask("POST", path, ADMIN, json=bad).status_code == 400
    unknown = client.ask(
        "POST", "/admin/accounts/account-x/credits", ADMIN, json={"amount": 5, "reason": "gift"}
    )
    assert unknown.status_code == 404


def test_the_ai_task_log_is_paged_and_can_be_of_one_run(one):
    run = one.start_run()
    one.write_article()
    first = one.get(f"/account/ai_tasks?run_id={run}&limit=4").json()
    path = f"/account/ai_tasks?run_id={run}&limit=4&cursor={first['next_cursor']}"
    second = one.get(path).json()
    items = first["items"] + second["items"]
    assert second["next_cursor"] is None
    assert [item["stage"] for item in items] == [6, 5, 4, 3, 2, 1]
    assert {item["run_id"] for item in items} == {run}
    assert items[0]["credits"] == 2


def test_sites_are_listed_page_by_page(one):
    for number in range(4):
        one.post("/sites", json={"name": f"site {number}", "domain": "a.example"})
    names, cursor = [], ""
    while cursor is not None:
        page = one.get(f"/sites?limit=2&cursor={cursor}").json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert names == ["one shop", "site 0", "site 1", "site 2", "site 3"]
