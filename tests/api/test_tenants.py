"""Every route, asked with another account's ids, answers as if there were nothing."""

import re

NOT_SCOPED = {"/healthz", "/readyz", "/metrics", "/asyncapi.json"}
BODIES = {
    "/api/v1/automation/update_config": {"is_enabled": True},
    "/api/v1/planner/keywords": {"keywords": [{"keyword": "a"}]},
    "/api/v1/writer/content/{content_id}/reject": {"reason": "no"},
    "/api/v1/writer/content/{content_id}/request_changes": {"note": "no"},
}


def test_no_route_shows_or_touches_anything_of_another_account(world, one, other):
    other.add_keywords("OTHER secret keyword")
    run = other.start_run()
    draft = other.write_article()
    image = other.get(f"/writer/images?site_id={other.site_id}").json()["items"][0]["id"]
    command = world.sent[-1].id
    ids = {
        "site_id": other.site_id,
        "run_id": run,
        "content_id": draft,
        "image_id": image,
        "command_id": command,
        "key_id": other.key_id,
        "retry_of": run,
    }
    before = len(world.sent)
    asked = set()
    for path, methods in world.app.openapi()["paths"].items():
        if path in NOT_SCOPED or path.startswith("/api/v1/admin"):
            continue
        for method, operation in methods.items():
            names = {one["name"] for one in operation.get("parameters", [])} & set(ids)
            if not names:
                continue
            for name in names if path.endswith(("stream", "current_processing")) else [None]:
                chosen = {key: ids[key] for key in names if name in {None, key}}
                check(one, method, path, chosen)
                asked.add((method, path))
    assert len(asked) >= 24
    assert len(world.sent) == before


def check(tenant, method, path, ids):
    def ask(values):
        url = re.sub(r"{(\w+)}", lambda found: values[found[1]], path)
        query = {key: value for key, value in values.items() if f"{{{key}}}" not in path}
        body = {"json": BODIES[path]} if method != "get" and path in BODIES else {}
        return tenant.client.ask(method.upper(), url, tenant.key, params=query, **body)

    foreign = ask(ids)
    unknown = ask({name: f"{name[:4]}-unknown" for name in ids})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found"), (method, path)
    assert foreign.content == unknown.content, (method, path)
    assert foreign.headers == unknown.headers, (method, path)
    assert "OTHER" not in foreign.text


def test_lists_without_ids_hold_only_what_is_the_callers(one, other):
    other.add_keywords("OTHER secret keyword")
    other.start_run()
    other.write_article()
    for path in ("/sites", "/account", "/account/ledger", "/account/ai_tasks"):
        text = one.get(path).text
        assert not any(word in text for word in (other.site_id, other.account_id, "OTHER")), path


def test_a_cursor_is_good_for_its_own_list_and_account_only(one, other):
    for tenant in (one, other):
        tenant.post("/sites", json={"name": "more", "domain": "a.example"})
        tenant.client.ask(
            "POST",
            f"/admin/accounts/{tenant.account_id}/credits",
            "the-admin-token",
            json={"amount": 1, "reason": "more"},
        )
    cursor = one.get("/sites?limit=1").json()["next_cursor"]
    assert one.get(f"/sites?limit=1&cursor={cursor}").status_code == 200
    assert other.get(f"/sites?limit=1&cursor={cursor}").status_code == 400
    assert one.get(f"/account/ledger?cursor={cursor}").status_code == 400
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    assert one.get(f"/sites?cursor={changed}").status_code == 400


def test_current_processing_wants_run_and_site_to_belong_together(one):
    run = one.start_run()
    second = one.post("/sites", json={"name": "more", "domain": "a.example"}).json()["site_id"]
    path = "/automation/current_processing"
    assert one.get(f"{path}?site_id={one.site_id}&run_id={run}").json()["run_id"] == run
    assert one.get(f"{path}?run_id={run}").json()["run_id"] == run
    assert one.get(f"{path}?site_id={second}").json()["run_id"] is None
    assert one.get(f"{path}?site_id={second}&run_id={run}").status_code == 404
