"""An account's own AI provider: who may choose it, what is told of it, and where its key goes."""

import io
import logging
import threading

import pytest
import sqlalchemy as sa

from events.kafka.connection import NothingSent
from projections.database import open_engine
from services.api.ai import tidy
from services.logs import OneLine
from services.vault import Secret, Vault
from tests.api.test_secrets import rows_of
from tests.api.world import ADMIN_TOKEN, VAULT_KEY, impatience, refuse, silent

PLANTED = "planted-provider-key-0123456789-wxyz"
URL = "https://api.openai.com/v1"
CHOICE = {"base_url": URL, "api_key": PLANTED, "text_model": "gpt-5-mini"}
PATH = "/account/ai"
NEVER = {
    "source": "installation",
    "base_url": None,
    "text_model": "local-1",
    "image_model": "local-1",
    "embedding_model": "local-1",
    "has_key": False,
    "key_hint": None,
    "chosen_at": None,
}


def choose(tenant, headers=None, key=None, **changes):
    body = {name: value for name, value in (CHOICE | changes).items() if value is not ...}
    return tenant.client.ask("PUT", PATH, key or tenant.key, json=body, headers=headers or {})


def drop(tenant, key=None):
    return tenant.client.ask("DELETE", PATH, key or tenant.key)


def the_secret(tenant):
    """Return what the account's only secret opens to."""
    (secret_id,) = tenant.world.vault.held()[tenant.account_id]
    return tenant.world.vault.open(Secret(tenant.account_id, secret_id, URL))


# Choosing


def test_before_any_choice_the_installations_models_are_told(one):
    assert one.get(PATH).json() == NEVER


def test_a_choice_is_answered_as_it_is_told_afterwards(world, one):
    answer = choose(one, image_model="gpt-image-1", embedding_model="text-embedding-3-small")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told == one.get(PATH).json()
    assert told == {
        "source": "account",
        "base_url": URL,
        "text_model": "gpt-5-mini",
        "image_model": "gpt-image-1",
        "embedding_model": "text-embedding-3-small",
        "has_key": True,
        "key_hint": "wxyz",
        "chosen_at": "2026-03-01T09:00:00Z",
    }
    assert the_secret(one) == PLANTED
    message = world.sent[-1].message
    assert (world.sent[-1].actor, world.sent[-1].account_id) == (one.key_id, one.account_id)
    assert (message.base_url, message.models.text, message.models.own) == (URL, "gpt-5-mini", True)


def test_an_address_is_kept_in_its_plain_form(one):
    assert choose(one, base_url="HTTPS://API.openai.com:443/v1/").json()["base_url"] == URL
    assert the_secret(one) == PLANTED


def test_where_no_key_is_asked_for_none_is_stored(world, one):
    told = choose(one, api_key=..., base_url="http://127.0.0.1:8080/v1").json()
    assert (told["has_key"], told["key_hint"]) == (False, None)
    assert told == one.get(PATH).json()
    assert world.vault.held() == {}


def test_a_short_key_is_stored_without_a_hint(one):
    told = choose(one, api_key="ollama").json()
    assert (told["has_key"], told["key_hint"]) == (True, None)
    assert told == one.get(PATH).json()


def test_another_choice_replaces_all_of_the_one_before_and_its_key_is_forgotten(one):
    choose(one, image_model="gpt-image-1")
    choose(one, api_key="another-key-that-is-long", text_model="gpt-5")
    told = one.get(PATH).json()
    assert (told["text_model"], told["image_model"], told["key_hint"]) == (
        "gpt-5",
        "local-1",
        "long",
    )
    assert the_secret(one) == "another-key-that-is-long"
    choose(one, api_key=...)
    assert one.world.vault.held() == {}


def test_a_choice_is_dropped_with_its_key(world, one):
    choose(one)
    dropped = drop(one)
    assert (dropped.status_code, "content-type" in dropped.headers) == (204, False)
    assert one.get(PATH).json() == NEVER
    assert world.vault.held() == {}
    assert drop(one).status_code == 204


def test_the_estimate_is_for_the_models_that_a_run_would_ask(one):
    one.add_keywords("cold brew ratio", "cold brew at home")
    path = f"/automation/estimate?site_id={one.site_id}"
    local = one.get(path).json()["estimated_credits"]
    choose(one, image_model="gpt-image-1")
    costly = one.get(path).json()["estimated_credits"]
    choose(one)
    cheap = one.get(path).json()["estimated_credits"]
    assert local != cheap < costly
    drop(one)
    assert one.get(path).json()["estimated_credits"] == local


# Who may


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_other_roles_look_and_do_not_choose(world, one, role):
    key = one.post("/account/keys", json={"role": role}).json()["api_key"]
    choose(one)
    before = len(world.sent)
    for answer in (choose(one, key=key), drop(one, key=key)):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert len(world.sent) == before
    told = one.client.ask("GET", PATH, key)
    assert told.status_code == 200
    assert PLANTED not in told.text
    assert the_secret(one) == PLANTED


def test_nobody_without_a_key_of_the_account_does_anything(one):
    choose(one)
    for key in (None, "sk_wrong", ADMIN_TOKEN):
        for method in ("GET", "PUT", "DELETE"):
            assert one.client.ask(method, PATH, key, json=CHOICE).status_code == 401


def test_another_account_sees_and_changes_nothing_of_it(world, one, other):
    choose(one)
    assert other.get(PATH).json() == NEVER
    drop(other)
    choose(other, api_key="the-key-of-the-other-one", text_model="gpt-5")
    drop(other)
    assert one.get(PATH).json()["text_model"] == "gpt-5-mini"
    assert the_secret(one) == PLANTED
    (secret_id,) = world.vault.held()[one.account_id]
    assert world.vault.hint(other.account_id, secret_id) is None


# What is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "https://evil.example/v1"),
        ("base_url", "http://169.254.169.254/latest"),
        ("base_url", "https://api.openai.com@evil.example/v1"),
        ("base_url", "http://127.0.0.1:8081/v1"),
        ("base_url", "https://localhost/v1"),
        ("base_url", ""),
        ("base_url", None),
        ("base_url", 7),
        ("base_url", ...),
        ("text_model", ...),
        ("text_model", ""),
        ("text_model", "gpt 5"),
        ("text_model", "gpt\u20115"),
        ("text_model", "local-1"),
        ("text_model", "instant"),
        ("image_model", "instant"),
        ("embedding_model", "local-1"),
        ("text_model", "a" * 201),
        ("api_key", ""),
        ("api_key", f"{PLANTED}\r\nX-Other: yes"),
        ("api_key", f"{PLANTED} "),
        ("api_key", f"{PLANTED}é"),
        ("api_key", PLANTED * 100),
        ("api_key", [PLANTED]),
        ("own", True),
    ],
)
def test_what_is_malformed_or_not_allowed_names_its_field_and_changes_nothing(
    world, one, field, value
):
    before = len(world.sent)
    answer = choose(one, **{field: value})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert PLANTED not in answer.text
    assert "evil" not in answer.text or "not among the hosts" in answer.text
    assert len(world.sent) == before
    assert world.vault.held() == {}


def test_an_installation_without_a_key_of_its_own_stores_none_and_says_who_can_help(world, one):
    world.vault.__init__(world.vault._engine, [])
    answer = choose(one)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["detail"] == (
        "api_key: the operator has to set SEPTET_SECRETS_KEY before keys can be stored"
    )
    assert choose(one, api_key=...).status_code == 200


# Once, whatever happens


def test_the_same_request_gives_the_same_answer_and_leaves_one_secret(world, one):
    again = {"Idempotency-Key": "again"}
    first = choose(one, again)
    world.now = world.now.replace(hour=11)
    second = choose(one, again)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert the_secret(one) == PLANTED
    other = choose(one, again, api_key="another-key-that-is-long")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert the_secret(one) == PLANTED


def test_a_repeated_request_does_not_bring_back_what_was_replaced_since(one):
    again = {"Idempotency-Key": "again"}
    choose(one, again)
    choose(one, api_key="another-key-that-is-long", text_model="gpt-5")
    assert choose(one, again).json()["text_model"] == "gpt-5-mini"
    assert one.get(PATH).json()["text_model"] == "gpt-5"
    assert the_secret(one) == "another-key-that-is-long"


@pytest.mark.parametrize("code", ["not_found", "internal_error"])
def test_a_refused_choice_leaves_no_secret(world, one, code):
    world.script = refuse(code)
    assert choose(one).status_code >= 400
    assert world.vault.held() == {}
    assert one.get(PATH).json() == NEVER


def test_what_was_not_sent_leaves_no_secret(world, one):
    world.failure = NothingSent("away")
    assert choose(one).status_code == 503
    assert world.vault.held() == {}


def test_a_choice_whose_outcome_comes_late_has_its_key(world, one):
    world.script, script = silent, world.script
    with impatience():
        pending = choose(one)
    assert pending.status_code == 202
    assert PLANTED not in pending.text
    world.script = script
    world.send_again()
    outcome = one.get(f"/commands/{pending.json()['command_id']}").json()
    assert outcome["status"] == "accepted"
    assert one.get(PATH).json()["has_key"] is True
    assert the_secret(one) == PLANTED


def test_a_key_that_was_replaced_late_is_forgotten_by_who_comes_by(world, one):
    choose(one, api_key="another-key-that-is-long")
    world.script, script = silent, world.script
    with impatience():
        choose(one)
    world.script = script
    world.send_again()
    assert len(world.vault.held()[one.account_id]) == 2
    one.client.start(tidy(world.app.state.parts, one.account_id)).result(timeout=60)
    assert the_secret(one) == PLANTED


def test_nothing_is_forgotten_while_the_read_model_is_folded_anew(world, one):
    """An empty table says of no key that it is over."""
    choose(one)
    with world.engine.begin() as tx:
        tx.execute(sa.text("DELETE FROM ai_choices"))
    one.client.start(tidy(world.app.state.parts, one.account_id)).result(timeout=60)
    assert the_secret(one) == PLANTED


def test_of_choices_at_once_one_is_left_with_its_own_key(world, one):
    keys = [f"key-number-{number}-of-many-that-are-long" for number in range(8)]
    asked = [one.client.begin("PUT", PATH, one.key, json=CHOICE | {"api_key": key}) for key in keys]
    assert {answer.result(timeout=60).status_code for answer in asked} == {200}
    one.client.start(tidy(world.app.state.parts, one.account_id)).result(timeout=60)
    kept = the_secret(one)
    assert kept in keys
    with world.engine.connect() as tx:
        current = tx.scalar(sa.text("SELECT secret_id FROM ai_choices WHERE current"))
    assert world.vault.held() == {one.account_id: {current}}


def test_a_vault_that_is_away_is_no_reason_to_choose_without_the_key(world, one, monkeypatch):
    def away(*_):
        raise sa.exc.OperationalError("insert", {}, Exception("disk full"))

    monkeypatch.setattr(world.vault, "put", away)
    before = len(world.sent)
    assert choose(one).status_code == 503
    assert len(world.sent) == before


def test_a_vault_that_is_away_afterwards_undoes_nothing(world, one, monkeypatch):
    def away(*_):
        raise sa.exc.OperationalError("delete", {}, Exception("disk full"))

    choose(one)
    monkeypatch.setattr(world.vault, "forget", away)
    assert choose(one, api_key="another-key-that-is-long").status_code == 200
    assert drop(one).status_code == 204


def test_two_processes_use_one_vault(world, one, tmp_path):
    choose(one)
    second = Vault(open_engine(f"sqlite:///{tmp_path / 'vault.db'}"), [VAULT_KEY])
    second.create_tables()
    (secret_id,) = second.held()[one.account_id]
    assert second.open(Secret(one.account_id, secret_id, URL)) == PLANTED
    failed = []

    def write(vault, number):
        try:
            for turn in range(20):
                secret = Secret("account-x", f"secret-{number}-{turn}", URL)
                vault.put(secret, PLANTED, world.now)
                vault.forget("account-x", [secret.secret_id])
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is to tell it
            failed.append(error)

    writers = [
        threading.Thread(target=write, args=(vault, number))
        for number, vault in enumerate([world.vault, second] * 2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=30)
    assert failed == []
    assert second.held() == {one.account_id: {secret_id}}
    second.close()


# Nowhere else


def everything(tenant):
    """Do all that can be done with a planted key, rightly and wrongly. Return all answers."""
    again = {"Idempotency-Key": "again"}
    answers = [choose(tenant), choose(tenant, again), choose(tenant, again), tenant.get(PATH)]
    answers += [
        choose(tenant, again, text_model="gpt-5"),
        choose(tenant, base_url=f"https://{PLANTED}@api.openai.com/v1"),
        choose(tenant, base_url=f"https://{PLANTED}.example/v1"[:60]),
        choose(tenant, api_key=[PLANTED]),
        choose(tenant, api_key={"key": PLANTED}),
        choose(tenant, api_key=f"{PLANTED}\n"),
        choose(tenant, text_model=f"{PLANTED} "),
        choose(tenant, unknown=PLANTED),
        tenant.put(PATH, content=f'{{"api_key": "{PLANTED}"'.encode()),
        tenant.put(PATH, json=[PLANTED]),
        tenant.post(PATH, json=CHOICE),
        tenant.get(f"{PATH}?api_key={PLANTED}"),
    ]
    tenant.start_run()
    tenant.write_article()
    for path in ("/account", "/account/ledger", "/account/ai_tasks", "/account/keys", "/sites"):
        answers.append(tenant.get(path))
    for path in ("events", "run", "logs"):
        answers.append(tenant.get(f"/automation/{path}?run_id={tenant.run_id}"))
    answers += [choose(tenant, api_key="another-key-that-is-long"), drop(tenant), choose(tenant)]
    return answers


def test_a_planted_key_is_in_no_answer_command_event_table_file_or_log(
    world, one, tmp_path, caplog
):
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(OneLine("api", []))
    logging.getLogger().addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG):
            answers = everything(one)
    finally:
        logging.getLogger().removeHandler(handler)
    places = {
        "answers": "".join(answer.text + repr(answer.headers) for answer in answers),
        "commands": "".join(command.model_dump_json() for command in world.sent),
        "messages": "".join(command.message.model_dump_json() for command in world.sent),
        "tables": rows_of(world.engine) + rows_of(world.pending._engine),
        "vault": rows_of(world.vault._engine),
        "log": "".join(
            line
            for line in handler.stream.getvalue().splitlines(keepends=True)
            if '"logger": "http' not in line  # the client with which the test asks
        ),
        "parts": repr(world.app.state.parts),
    }
    assert URL in places["messages"]
    assert "secret-" in places["vault"]
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"vault.db", "pending.db", "read-model.db"} <= files.keys()
    for part in (PLANTED, PLANTED[:-4], PLANTED[4:]):
        for name, text in places.items():
            shown = text.replace(f"{PLANTED}.example", "")  # as a host it is an address
            assert part not in shown, name
        for name, content in files.items():
            assert part.encode() not in content, name
    assert the_secret(one) == PLANTED, "it was there to be found"
