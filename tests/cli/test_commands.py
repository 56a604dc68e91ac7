"""The command line against an API of canned answers: results, errors and exit codes."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import uvicorn
from typer.testing import Result

from services.cli import processes
from tests.cli.conftest import Api, error_of
from tests.cli.rows import ESTIMATE, run_row

Septet = Callable[..., Result]
ROOT = Path(__file__).parents[2]


def test_account_create_shows_the_key_once(api: Api, septet: Septet) -> None:
    api.on("POST", "/admin/accounts", {"account_id": "account-1", "api_key": "sk_1"}, status=201)
    done = septet("account", "create", "Acme", "--credits", "100", env={"SEPTET_ADMIN_TOKEN": "t"})
    assert done.exit_code == 0
    assert "account-1 opened with 100 credits" in done.stdout
    assert "sk_1" in done.stdout
    (request,) = api.asked
    assert json.loads(request.content) == {"name": "Acme", "credits": 100}
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["idempotency-key"]


def test_the_admin_token_of_the_data_folder_is_used(api: Api, septet: Septet, here: Path) -> None:
    (here / ".septet").mkdir()
    (here / ".septet" / "admin-token").write_text("from-the-folder")
    api.on("POST", "/admin/accounts", {"account_id": "a", "api_key": "k"})
    assert septet("account", "create", "--name", "Acme").exit_code == 0
    assert api.asked[0].headers["authorization"] == "Bearer from-the-folder"


def test_json_is_one_object_wherever_the_option_stands(api: Api, septet: Septet) -> None:
    account = {
        "account_id": "a",
        "name": "Acme",
        "balance": 5,
        "held_credits": 2,
        "available_credits": 3,
    }
    api.on("GET", "/account", account)
    before = septet("--output", "json", "account", "show")
    between = septet("account", "--output", "json", "show")
    after = septet("account", "show", "--output", "json")
    assert [json.loads(one.stdout) for one in (before, between, after)] == [account] * 3
    assert "available  3" in septet("account", "show").stdout


@pytest.mark.parametrize(
    "given",
    [
        ("account-1", "5"),
        ("account-1", "--amount", "5"),
        ("--account", "account-1", "--credits", "5"),
    ],
)
def test_an_account_is_named_by_its_place_or_by_an_option(
    api: Api, septet: Septet, given: tuple[str, ...]
) -> None:
    account = {"account_id": "account-1", "balance": 5, "name": "Acme"}
    account |= {"held_credits": 0, "available_credits": 5}
    token = {"SEPTET_ADMIN_TOKEN": "t", "SEPTET_API_KEY": ""}
    api.on("POST", "/admin/accounts/account-1/credits", {})
    api.on("GET", "/admin/accounts/account-1", account)
    done = septet("account", "credit", *given, env=token)
    assert done.stdout == "account-1 credited with 5: balance 5\n"
    assert json.loads(api.asked[0].content)["amount"] == 5
    shown = [
        septet("account", "show", *one, env=token).stdout
        for one in (("account-1",), ("--account", "account-1"))
    ]
    assert shown[0] == shown[1]
    assert "balance    5" in shown[0]


KEYS = {
    "items": [
        {
            "key_id": "key-1",
            "role": "admin",
            "created_at": "2026-11-21T10:00:00.000000Z",
            "revoked": False,
            "last_used_at": None,
        }
    ],
    "next_cursor": "more",
}


@pytest.mark.parametrize(
    ("whose", "path", "credential"),
    [
        ((), "/account/keys", "sk_test"),
        (("--account", "account-1"), "/admin/accounts/account-1/keys", "t"),
    ],
)
def test_keys_are_listed_and_created_by_the_account_or_the_operator(
    api: Api, septet: Septet, whose: tuple[str, ...], path: str, credential: str
) -> None:
    token = {"SEPTET_ADMIN_TOKEN": "t"}
    api.on("GET", path, KEYS)
    listed = septet("account", "keys", "list", *whose, env=token).stdout.splitlines()
    assert listed[0].split() == ["KEY", "ROLE", "CREATED", "REVOKED", "LAST", "USED"]
    assert listed[1].split()[:2] == ["key-1", "admin"]
    assert listed[1].split()[-2:] == ["no", "-"]
    assert listed[2] == "More with --cursor more"
    made = {"key_id": "key-2", "api_key": "sk_2", "role": "viewer"}
    api.on("POST", path, made, status=201)
    done = septet("account", "keys", "create", "--role", "viewer", *whose, env=token)
    assert done.stdout.splitlines() == [
        "key-2 has the role viewer",
        "API key, shown only now: sk_2",
    ]
    assert json.loads(api.asked[-1].content) == {"role": "viewer"}
    assert {one.headers["authorization"] for one in api.asked} == {f"Bearer {credential}"}


def test_a_key_is_revoked_and_a_slow_outcome_is_waited_for(api: Api, septet: Septet) -> None:
    pending = httpx.Response(202, json={"command_id": "cmd-1", "status": "pending"})
    api.on("DELETE", "/account/keys/key-1", httpx.Response(204), pending)
    api.on(
        "GET",
        "/commands/cmd-1",
        {"command_id": "cmd-1", "status": "pending"},
        {"command_id": "cmd-1", "status": "accepted"},
        {"command_id": "cmd-1", "status": "refused", "code": "not_found", "detail": "No."},
    )
    for _ in range(2):
        assert septet("account", "keys", "revoke", "key-1").stdout == "key-1 revoked\n"
    refused = septet("account", "keys", "revoke", "key-1")
    assert (refused.exit_code, refused.stderr) == (3, "error: No.\n")


def test_the_operator_revokes_any_key(api: Api, septet: Septet) -> None:
    api.on("DELETE", "/admin/keys/key-1", httpx.Response(204))
    options = ("--account", "account-1", "--output", "json")
    done = septet("account", "keys", "revoke", "key-1", *options, env={"SEPTET_ADMIN_TOKEN": "t"})
    assert json.loads(done.stdout) == {"revoked": "key-1"}
    assert api.asked[-1].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "run_already_active", 3),
        (400, "insufficient_credits", 3),
        (400, "nothing_to_do", 3),
        (400, "a_rule_of_a_newer_release", 3),
        (400, "invalid_request", 2),
        (403, "forbidden", 3),
        (404, "not_found", 1),
        (409, "idempotency_conflict", 1),
        (500, "internal_error", 1),
        (503, "unavailable", 1),
    ],
)
def test_each_problem_has_its_exit_code(
    api: Api, septet: Septet, status: int, code: str, expected: int
) -> None:
    api.on("GET", "/automation/estimate", ESTIMATE)
    api.problem("POST", "/automation/run_now", status, code)
    text = septet("run", "start", "--site", "site-1")
    assert text.exit_code == expected
    assert text.stderr.startswith(f"error: This is {code}.")
    assert "Traceback" not in text.output
    as_json = septet("run", "start", "--site", "site-1", "--output", "json")
    assert as_json.exit_code == expected
    assert error_of(as_json)["code"] == code


@pytest.mark.parametrize(
    ("arguments", "path", "says"),
    [
        (
            ("site", "list"),
            "/sites",
            "this key. Set SEPTET_API_KEY to the key that septet account create showed",
        ),
        (
            ("account", "show", "account-1"),
            "/admin/accounts/account-1",
            "this admin token. Set SEPTET_ADMIN_TOKEN to the one that it was started with",
        ),
    ],
)
def test_who_is_not_known_is_told_which_credential_to_set(
    api: Api, septet: Septet, arguments: tuple[str, ...], path: str, says: str
) -> None:
    detail = "Send a valid key as Authorization: Bearer <key>."
    api.on("GET", "/account", {"account_id": "account-2"})
    api.problem("GET", path, 401, "unauthenticated", detail=detail)
    token = {"SEPTET_ADMIN_TOKEN": "wrong"}
    done = septet(*arguments, env=token)
    assert done.exit_code == 4
    assert done.stderr == f"error: the API at http://127.0.0.1:8000 does not know {says}\n"
    as_json = septet(*arguments, "--output", "json", env=token)
    assert (as_json.exit_code, error_of(as_json)["code"]) == (4, "unauthenticated")


def test_a_bad_request_without_a_code_is_a_failure(api: Api, septet: Septet) -> None:
    api.on("GET", "/sites", httpx.Response(400, text="Bad Request"))
    done = septet("site", "list")
    assert (done.exit_code, done.stderr) == (1, "error: Bad Request\n")


def test_a_refusal_says_its_numbers_and_the_next_step(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/estimate", ESTIMATE)
    api.problem(
        "POST",
        "/automation/run_now",
        400,
        "run_already_active",
        detail="A run is active",
        active_run_id="run-9",
    )
    done = septet("run", "start", "--site", "site-1")
    assert done.stdout == "estimate 474, required 569, available 1200: enough\n"
    assert done.stderr == "error: A run is active. Watch it with septet run watch run-9\n"


def test_without_a_key_a_command_says_how_to_get_one(
    septet: Septet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEPTET_API_KEY")
    done = septet("site", "list")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == (
        "error: not signed in. Set SEPTET_API_KEY to the key that septet account create showed\n"
    )


def test_without_a_server_a_command_says_how_to_start_one(septet: Septet) -> None:
    done = septet("site", "list", env={"SEPTET_API_URL": "http://127.0.0.1:9"})
    assert done.exit_code == 1
    assert done.stderr == (
        "error: no server answers at http://127.0.0.1:9. "
        "Start one with septet up, or set SEPTET_API_URL\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("run", "start"),
        ("run", "show"),
        ("run", "show", "run-1", "--run", "run-1"),
        ("run", "retry"),
        ("run", "retry", "run-1", "--run", "run-2"),
        ("account", "show", "account-1", "--account", "account-2"),
        ("account", "credit", "--account", "account-1"),
        ("account", "credit", "--amount", "5"),
        ("account", "credit", "account-1", "5", "--amount", "5"),
        ("account", "credit", "account-1", "--amount", "0"),
        ("account", "create"),
        ("site", "create"),
        ("account", "create", "Acme", "--credits", "-1"),
        ("account", "keys", "create"),
        ("account", "keys", "create", "--role", "owner"),
        ("account", "keys", "revoke"),
        ("audit", "replay"),
        ("audit", "replay", "--run", "r", "--site", "s"),
        ("dead-letters", "replay"),
        ("keywords", "import", "--site", "site-1", "missing.csv"),
        ("site", "list", "--output", "yaml"),
    ],
)
def test_wrong_usage_is_code_2_and_one_line(septet: Septet, arguments: tuple[str, ...]) -> None:
    done = septet(*arguments, env={"SEPTET_ADMIN_TOKEN": "t"})
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_command_is_answered_with_sentences(septet: Septet) -> None:
    assert septet("run", "lgos").stderr == (
        "error: No such command 'lgos'. Did you mean 'logs'? See septet --help\n"
    )
    assert septet("nonsense").stderr == "error: No such command 'nonsense'. See septet --help\n"


@pytest.mark.parametrize("arguments", [(), ("run",), ("account", "keys")])
def test_alone_a_command_or_a_noun_prints_its_help(septet: Septet, arguments: list[str]) -> None:
    done = septet(*arguments)
    assert (done.exit_code, done.stderr) == (2, "error: Missing command. See septet --help\n")
    assert " ".join(("Usage: septet", *arguments, "[OPTIONS] COMMAND")) in done.stdout


def test_the_program_alone_prints_its_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "error: Missing command. See septet --help\n")
    assert "COMMAND" in done.stdout


@pytest.mark.parametrize("command", ["up", "demo", "api", "migrate", "orchestrator"])
def test_a_wrong_setting_stops_any_command_with_a_line_that_names_it(
    septet: Septet, command: str
) -> None:
    done = septet(command, env={"SEPTET_PORT": "99999", "SEPTET_DATABASE_URL": "mysql://secret"})
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "SEPTET_PORT: " in line
    assert "SEPTET_DATABASE_URL: must begin with postgresql://" in line
    assert "secret" not in line


def test_an_api_whose_port_is_taken_fails_with_a_line_that_names_the_setting(
    septet: Septet, here: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = septet("api", env={"SEPTET_PORT": str(port), "SEPTET_DATA_DIR": str(here)})
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Set SEPTET_PORT to a free port\n"
    )


def test_a_server_that_ends_while_it_starts_fails_with_a_code_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = uvicorn.Config(
            _no_app, port=taken.getsockname()[1], log_level="critical", lifespan="off"
        )
        serving = processes._serve_http(uvicorn.Server(config), asyncio.Event(), lambda: None)
        with pytest.raises(RuntimeError, match="did not start: OSError"):
            asyncio.run(serving)


async def _no_app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError


def test_sites_are_a_table_and_control_characters_are_spelled_out(api: Api, septet: Septet) -> None:
    site = {"site_id": "site-1", "name": "Bad\x1b[2J", "domain": "d.example", "timezone": "UTC"}
    api.on("GET", "/sites", {"items": [site], "next_cursor": None})
    assert septet("site", "list").stdout.splitlines() == [
        "SITE    NAME        DOMAIN     ZONE",
        "site-1  Bad\\x1b[2J  d.example  UTC",
    ]


def test_keywords_are_sent_as_they_are(api: Api, septet: Septet, here: Path) -> None:
    (here / "words.csv").write_text("keyword,volume\ncold brew,100\n,5\n")
    rejected = [{"row": 3, "reason": "keyword: is empty"}]
    api.on("POST", "/planner/keywords", {"imported": 1, "duplicates": 0, "rejected": rejected})
    done = septet("keywords", "import", "--site", "site-1", "words.csv")
    assert done.stdout.splitlines() == [
        "1 keywords imported, 0 duplicates, 1 rejected",
        "  row 3: keyword: is empty",
    ]
    (request,) = api.asked
    assert request.headers["content-type"] == "text/csv"
    assert request.content == (here / "words.csv").read_bytes()
    assert request.url.params["site_id"] == "site-1"


def test_a_full_server_is_waited_for(api: Api, septet: Septet) -> None:
    full = httpx.Response(429, headers={"Retry-After": "0"}, json={"code": "too_many_requests"})
    api.on("GET", "/automation/run", full, run_row())
    assert septet("run", "show", "run-1").exit_code == 0


def test_help_lists_every_command_of_the_contract(septet: Septet) -> None:
    text = septet("--help").stdout
    for name in (
        *("up", "demo", "api", "orchestrator", "projector", "scheduler", "stage-worker"),
        *("migrate", "account", "site", "keywords", "config", "run", "content", "audit"),
        *("projections", "dead-letters"),
    ):
        assert f" {name} " in text, name
