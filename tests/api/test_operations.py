"""What operators see, and what every answer has."""

import logging
import re
import sqlite3

import pytest
import sqlalchemy as sa

from tests.api.examples import OWN_PROVIDER


def test_health_readiness_and_documents_need_no_key(client):
    assert client.ask("GET", "/healthz").json() == {"status": "ok"}
    assert client.ask("GET", "/readyz").status_code == 200
    assert client.ask("GET", "/asyncapi.json").json() == {"asyncapi": "3.0.0"}
    assert client.ask("GET", "/openapi.json").json()["openapi"].startswith("3.")


def test_a_load_balancer_may_ask_without_wanting_a_body(world, client):
    assert [client.ask("HEAD", path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    world.unready = {"broker": "cannot be reached"}
    assert client.ask("HEAD", "/readyz").status_code == 503
    assert client.ask("HEAD", "/healthz").status_code == 200


def test_readiness_names_what_does_not_answer(world, client):
    world.unready = {"broker": "cannot be reached", "read model": ""}
    answer = client.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.json()["detail"] == "broker: cannot be reached"
    assert answer.json()["checks"] == {"broker": "cannot be reached", "read model": "ok"}


def test_metrics_count_by_route_and_name_no_tenant(one):
    one.start_run()
    one.get("/automation/run?run_id=run-unknown")
    one.get("/made-up-address")
    text = one.client.ask("GET", "/metrics").text
    labels = 'method="GET",route="/api/v1/automation/run",status="404"'
    assert f"septet_http_requests_total{{{labels}}} 1.0" in text
    assert 'route="unknown"' in text
    assert "septet_pending_commands" in text
    assert "septet_http_request_seconds_bucket" in text
    for secret in (one.account_id, one.site_id, one.run_id, one.key_id, "made-up"):
        assert secret not in text


def test_the_docs_are_one_page_without_script_or_other_hosts(client):
    answer = client.ask("GET", "/docs")
    page = answer.text.replace(OWN_PROVIDER["base_url"], "")  # in an example, where it is no link
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"<script|https?://|\bon\w+=", page)
    assert "/api/v1/automation/run_now" in page
    assert 'id="insufficient_credits"' in page
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


def test_the_document_tells_bodies_problems_and_idempotency(client):
    document = client.ask("GET", "/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"], path
            names = {one["name"] for one in operation.get("parameters", [])}
            assert ("Idempotency-Key" in names) == (method in {"post", "put"}), path
    body = document["paths"]["/api/v1/planner/keywords"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "text/csv"}
    refs = set(
        re.findall(r'"#/components/schemas/([^"]+)"', client.ask("GET", "/openapi.json").text)
    )
    assert refs <= set(document["components"]["schemas"])


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/sites", "/nothing", "/metrics"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.ask("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["permissions-policy"] == "camera=(), geolocation=(), microphone=()"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers


def test_a_bug_is_a_500_without_trace_and_logged_once(one, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("the secret cause")

    monkeypatch.setattr("projections.ledger.entries", broken)
    with caplog.at_level(logging.ERROR):
        answer = one.get("/account/ledger")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [bool(record.exc_info) for record in caplog.records] == [True]


def test_a_read_model_that_is_away_is_a_503(one, monkeypatch):
    def away(*_):
        raise sa.exc.OperationalError("select", {}, sqlite3.OperationalError("disk gone"))

    monkeypatch.setattr("projections.accounts.find_key", away)
    answer = one.get("/account")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    assert "disk" not in answer.text


def test_a_pending_table_that_is_away_is_a_503_and_sends_nothing(world, one, monkeypatch):
    def away(*_):
        raise sa.exc.OperationalError("insert", {}, sqlite3.OperationalError("disk full"))

    monkeypatch.setattr(world.pending, "claim", away)
    before = len(world.sent)
    answer = one.post(f"/automation/run_now?site_id={one.site_id}")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert len(world.sent) == before
