"""Requests a minute: each key, the operator and each stranger's address for itself."""

import math
from types import SimpleNamespace

import pytest

from services.api import rates
from services.api.problems import TooManyRequests
from services.api.rates import Memory, Rates, network_of
from services.settings import Settings
from tests.api.world import Client, Tenant, World

ADMIN = "the-admin-token"
TEN = pytest.mark.parametrize("limits", [{"requests_per_minute": 10}])
START = 1_700_000_040.25  # in the first second of one of the library's windows


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Let time stand still, so that no window ends within a test that does not want it."""
    clock = SimpleNamespace(now=START)
    stopped = SimpleNamespace(time=lambda: clock.now)
    for module in ("limits.storage.memory", "limits.strategies", "services.api.rates"):
        monkeypatch.setattr(f"{module}.time", stopped)
    return clock


def ask(client, key, path="/account", method="GET"):
    return client.ask(method, path, key)


def statuses(client, key, times, path="/account"):
    return [ask(client, key, path).status_code for _ in range(times)]


def is_refused(answer):
    assert answer.status_code == 429, answer.text
    assert answer.json()["code"] == "too_many_requests"
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.headers["retry-after"].isdigit() and int(answer.headers["retry-after"]) >= 1


@TEN
def test_a_key_is_answered_so_often_and_no_other_key_feels_it(client, one, other):
    assert statuses(client, one.key, 9) == [200] * 9  # one request was the tenant's site
    assert is_refused(ask(client, one.key))
    assert is_refused(ask(client, one.key, "/sites", "POST"))
    assert ask(client, other.key).status_code == 200
    path = f"/admin/accounts/{one.account_id}"
    assert ask(client, ADMIN, path).status_code == 200


@TEN
def test_two_keys_of_an_account_have_a_limit_each(client, one):
    second = one.post("/account/keys", json={"role": "viewer"}).json()["api_key"]
    assert statuses(client, one.key, 9)[-2:] == [200, 429]
    assert statuses(client, second, 11)[-2:] == [200, 429]


@TEN
def test_the_operator_has_a_limit_too(client):
    path = "/admin/accounts/account-x"
    assert statuses(client, ADMIN, 11, path) == [404] * 10 + [429]
    assert is_refused(ask(client, ADMIN, "/admin/accounts", "POST"))
    assert is_refused(ask(client, ADMIN, "/commands/cmd-x"))


@TEN
@pytest.mark.parametrize("wrong", [None, "sk_wrong"])
@pytest.mark.parametrize("path", ["/account", "/admin/accounts/account-x", "/commands/cmd-x"])
def test_requests_without_a_good_key_are_counted_by_address(client, wrong, path):
    assert statuses(client, wrong, 11, path) == [401] * 10 + [429]
    assert is_refused(ask(client, "sk_another", path))


@TEN
def test_an_address_that_is_over_its_limit_has_nothing_looked_up(client, monkeypatch):
    assert statuses(client, "sk_wrong", 10) == [401] * 10
    looked = []
    monkeypatch.setattr("projections.accounts.find_key", lambda *_: looked.append(1))
    assert statuses(client, "sk_wrong", 3) == [429] * 3
    assert looked == []


@TEN
def test_a_key_that_is_over_its_limit_is_not_looked_up(client, one, monkeypatch):
    statuses(client, one.key, 9)
    looked = []
    monkeypatch.setattr("projections.accounts.find_key", lambda *_: looked.append(1))
    assert statuses(client, one.key, 3) == [429] * 3
    assert looked == []


@TEN
def test_strangers_at_the_same_address_do_not_shut_a_known_key_out(client, one):
    assert statuses(client, "sk_wrong", 11)[-1] == 429
    assert ask(client, one.key).status_code == 200


@TEN
def test_a_revoked_key_is_a_stranger(client, one, other, monkeypatch):
    assert client.ask("DELETE", f"/admin/keys/{one.key_id}", ADMIN).status_code == 204
    assert statuses(client, one.key, 5) == [401] * 5
    assert statuses(client, "sk_wrong", 5) == [401] * 5
    assert ask(client, other.key).status_code == 200
    looked = []
    monkeypatch.setattr("projections.accounts.find_key", lambda *_: looked.append(1))
    assert is_refused(ask(client, one.key))
    assert looked == []


@TEN
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_health_metrics_and_documents_are_not_limited(client, path):
    assert statuses(client, None, 11)[-1] == 429
    assert statuses(client, None, 15, path) == [200] * 15


def test_every_route_counts_a_request_once(tmp_path):
    plain = World(tmp_path)
    routes = [
        (method.upper(), path)
        for path, methods in plain.app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/api/")
    ]
    folder = tmp_path / "limited"
    folder.mkdir()
    world = World(folder, requests_per_minute=len(routes) + 1)
    client = Client(world)
    try:
        key = Tenant(world, client, "one").key
        for method, path in routes:
            assert ask(client, key, path, method).status_code in {200, 204, 400, 403, 404}, path
        assert is_refused(ask(client, key))
    finally:
        client.close()
        for each in (plain, world):
            each.engine.dispose()
            each.pending.close()
            each.key_uses.close()
            each.vault.close()


def test_no_limit_is_no_limit():
    free = Rates(0)
    for _ in range(10_000):
        free.count_key("key-1")
        free.count_stranger("192.0.2.1")
    free.admit_stranger("192.0.2.1")


def refusal(limited):
    with pytest.raises(TooManyRequests) as refused:
        limited.count_key("key-1")
    return int(refused.value.headers["Retry-After"])


@pytest.mark.parametrize("most", [1, 3, 7, 60, 1000])
@pytest.mark.parametrize("pace", [0.0, 0.013, 0.5])
def test_after_the_seconds_that_it_says_a_request_is_answered(clock, most, pace):
    limited = Rates(most)
    for _ in range(3):
        admitted = 0
        while True:
            clock.now += pace
            try:
                limited.count_key("key-1")
            except TooManyRequests as refused:
                wait = int(refused.headers["Retry-After"])
                break
            admitted += 1
            assert admitted <= 3 * most + 200 or pace > 60 / most
            if admitted > 5 * most + 200:
                return  # slower than the limit: never refused
        assert 1 <= wait <= 60
        clock.now += wait
        limited.count_key("key-1")


def test_the_window_slides_and_nobody_gets_twice_the_limit_around_a_minutes_turn(clock):
    limited = Rates(100)
    clock.now += 59
    for _ in range(100):
        limited.count_key("key-1")
    clock.now += 2
    admitted = 0
    for _ in range(100):
        try:
            limited.count_key("key-1")
        except TooManyRequests:
            break
        admitted += 1
    assert admitted <= 3
    clock.now += 120
    for _ in range(100):
        limited.count_key("key-1")
    assert math.isclose(refusal(limited), 60, abs_tol=60)


def test_counters_that_nobody_needs_are_forgotten_and_no_thread_does_it(clock):
    memory = Memory()
    memory.timer.join()  # the library's own, which looks once
    for number in range(1000):
        memory.incr(f"address-{number}", 120)
    clock.now += 121
    memory.incr("address-x", 120)
    assert list(memory.storage) == list(memory.expirations) == ["address-x"]
    assert not memory.timer.is_alive()


def test_known_keys_are_at_most_so_many(monkeypatch):
    monkeypatch.setattr(rates, "MOST_KNOWN", 3)
    limited = Rates(10)
    for number in range(5):
        limited.remember(f"digest-{number}", f"key-{number}")
    known = [limited.known(f"digest-{number}") for number in range(5)]
    assert known == [None, None, "key-2", "key-3", "key-4"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "unix:", True),
    ],
)
def test_an_ipv6_subscriber_is_one_address(one, other, same):
    assert (network_of(one) == network_of(other)) is same


def test_the_settings_say_the_same_as_the_code():
    settings = Settings.model_fields
    assert settings["requests_per_minute"].default == rates.REQUESTS_PER_MINUTE
    assert settings["streams_per_key"].default == rates.STREAMS_PER_KEY
