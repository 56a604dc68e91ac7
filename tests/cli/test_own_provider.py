"""`septet account ai`: the key comes by a prompt or by stdin, and is shown by nothing."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from services.cli import account
from tests.cli.conftest import Api

Run = Callable[..., Result]
PLANTED = "planted-provider-key-0123456789-wxyz"
SET = ("account", "ai", "set", "https://api.openai.com/v1", "--text-model", "gpt-5-mini")
OWN = {
    "source": "account",
    "base_url": "https://api.openai.com/v1",
    "text_model": "gpt-5-mini",
    "image_model": "local-1",
    "embedding_model": "local-1",
    "has_key": True,
    "key_hint": "wxyz",
    "chosen_at": "2026-03-01T09:00:00Z",
}
INSTALLED = OWN | {
    "source": "installation",
    "base_url": None,
    "text_model": "local-1",
    "has_key": False,
    "key_hint": None,
    "chosen_at": None,
}


def test_the_key_comes_from_stdin(api: Api, septet: Run) -> None:
    api.on("PUT", "/account/ai", OWN)
    done = septet(*SET, "--image-model", "gpt-image-1", "--key-stdin", input=f"{PLANTED}\n")
    assert done.exit_code == 0
    assert json.loads(api.asked[0].content) == {
        "base_url": "https://api.openai.com/v1",
        "text_model": "gpt-5-mini",
        "image_model": "gpt-image-1",
        "api_key": PLANTED,
    }
    assert "stored, ends in wxyz" in done.stdout
    assert PLANTED not in done.output


def test_the_key_comes_from_a_prompt_that_shows_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prompt(_: str, **options: object) -> str:
        assert (options["hide_input"], options["err"]) == (True, True)
        return f" {PLANTED} "

    monkeypatch.setattr(account.typer, "prompt", prompt)
    monkeypatch.setattr(account.sys, "stdin", type("", (), {"isatty": lambda _: True})())
    api.on("PUT", "/account/ai", OWN)
    account.set_ai("https://api.openai.com/v1", text_model="gpt-5-mini")
    assert json.loads(api.asked[0].content)["api_key"] == PLANTED


def test_without_a_key_it_is_said_how_to_give_one(api: Api, septet: Run) -> None:
    for more in ((), ("--key-stdin",)):
        done = septet(*SET, *more, input="")
        assert done.exit_code == 2
        assert "--key-stdin" in done.stderr
        assert "--no-key" in done.stderr
    assert api.asked == []


def test_a_provider_that_asks_for_no_key_gets_none(api: Api, septet: Run) -> None:
    api.on("PUT", "/account/ai", OWN | {"has_key": False, "key_hint": None})
    done = septet(*SET, "--no-key")
    assert "api_key" not in json.loads(api.asked[0].content)
    assert "key              none" in done.stdout


def test_no_argument_takes_a_key(septet: Run) -> None:
    for option in ("--key", "--api-key"):
        done = septet(*SET, option, PLANTED)
        assert done.exit_code == 2


def test_an_outcome_that_is_late_is_waited_for_under_one_idempotency_key(
    api: Api, septet: Run
) -> None:
    pending = {"command_id": "cmd-1", "status": "pending"}
    api.on("PUT", "/account/ai", pending, OWN)
    first, *_ = api.answers["PUT", "/api/v1/account/ai"]
    api.answers["PUT", "/api/v1/account/ai"][0] = lambda request: _accepted(first(request))
    assert septet(*SET, "--no-key").exit_code == 0
    one, two = api.asked
    assert one.headers["Idempotency-Key"] == two.headers["Idempotency-Key"]
    assert one.content == two.content


def _accepted(answer):  # type: ignore[no-untyped-def]
    answer.status_code = 202
    return answer


def test_a_refused_address_is_one_line(api: Api, septet: Run) -> None:
    detail = "base_url: https://evil.example is not among the hosts that this installation allows"
    api.problem("PUT", "/account/ai", 400, "invalid_request", detail=detail)
    done = septet(*SET, "--key-stdin", input=PLANTED)
    assert (done.exit_code, done.stderr) == (2, f"error: {detail}\n")


def test_what_runs_ask_is_shown(api: Api, septet: Run) -> None:
    api.on("GET", "/account/ai", OWN)
    done = septet("account", "ai", "show")
    assert "provider         the account's own" in done.stdout
    assert "address          https://api.openai.com/v1" in done.stdout
    api.on("GET", "/account/ai", INSTALLED)
    assert "provider         the installation's" in septet("account", "ai", "show").stdout
    as_json = septet("account", "ai", "show", "--output", "json")
    assert json.loads(as_json.stdout) == INSTALLED


def test_dropping_shows_what_runs_ask_then(api: Api, septet: Run) -> None:
    api.on("DELETE", "/account/ai", {})
    api.on("GET", "/account/ai", INSTALLED)
    done = septet("account", "ai", "drop")
    assert done.exit_code == 0
    assert "the installation's" in done.stdout
