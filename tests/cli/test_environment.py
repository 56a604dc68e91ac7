"""Tokens, addresses, settings, and the file that documents them."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from services.cli.environment import (
    Access,
    admin_token,
    api_url,
    example,
    inherited,
    known_admin_token,
    read_settings,
    secrets_of,
)
from services.cli.output import Code, Failed
from services.places import read_model_url

ROOT = Path(__file__).parents[2]


def test_the_example_is_generated_from_the_settings() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == example(), "run make env-example"


def test_the_settings_that_operators_rely_on_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATA_DIR": "elsewhere",
        "HOST": "0.0.0.0",
        "PORT": "8123",
        "ADMIN_TOKEN": "token",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092",
        "DATABASE_URL": "postgresql://septet@db/septet",
        "EMBEDDED_BROKER_PORT": "19123",
        "AI_PROVIDER": "local",
        "AI_TIMEOUT_SECONDS": "7",
        "BATCH_TIMEOUT_SECONDS": "8",
        "LOG_LEVEL": "debug",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"SEPTET_{name}", value)
    read = read_settings()
    assert (read.data_dir, read.host, read.port) == (Path("elsewhere"), "0.0.0.0", 8123)
    assert known_admin_token(read) == "token"
    assert (read.brokers, read.embedded_broker) == ("kafka-1:9092,kafka-2:9092", False)
    assert read_model_url(read) == "postgresql://septet@db/septet"
    assert (read.ai_provider, read.ai_timeout_seconds) == ("local", 7)
    assert (read.batch_timeout_seconds, read.log_level) == (8, "DEBUG")
    for name in given:
        monkeypatch.setenv(f"SEPTET_{name}", "")
    read = read_settings(embedded_broker_port=19123)
    assert (read.host, read.port, read.data_dir) == ("127.0.0.1", 8000, Path(".septet"))
    assert (read.brokers, read.embedded_broker) == ("127.0.0.1:19123", True)
    assert read_model_url(read) == "sqlite:///.septet/read-model.db"
    assert read_settings().embedded_broker_port == 19092


def test_a_setting_of_the_env_file_is_read_and_the_environment_goes_first(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / ".env").write_text("SEPTET_PORT=8124\nSEPTET_HOST=127.0.0.2\n")
    monkeypatch.setenv("SEPTET_HOST", "127.0.0.3")
    assert (read_settings().port, read_settings().host) == (8124, "127.0.0.3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"SEPTET_PORT=8124\n# fine\n\n\n  SEPTET_HOST 127.0.0.2\n", ".env, line 5 is no setting"),
        (b'SEPTET_PORT=8124\nSEPTET_ADMIN_TOKEN="not closed\n', ".env, line 2 is no setting"),
        (b"SEPTET_ADMIN_TOKEN=caf\xe9\n", ".env is not text in UTF-8. Save it as UTF-8"),
    ],
)
@pytest.mark.parametrize("command", [("up",), ("run", "list", "--site", "site-1")])
def test_an_env_file_that_is_not_all_settings_stops_any_command(
    septet: Callable[..., Result], here: Path, command: tuple[str, ...], text: bytes, says: str
) -> None:
    (here / ".env").write_bytes(text)
    done = septet(*command)
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {says}")
    assert "not closed" not in line


def test_an_env_file_may_have_comments_exports_and_values_of_several_lines(here: Path) -> None:
    (here / ".env").write_text(
        "# ours\n\nexport SEPTET_PORT=8124 # free\nOTHER='two\nlines'\nBARE\n"
    )
    assert read_settings().port == 8124


def test_the_admin_token_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    assert known_admin_token(settings) is None
    token = admin_token(settings)
    assert admin_token(settings) == known_admin_token(settings) == token
    assert len(token) >= 32
    file = tmp_path / "data" / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["admin-token"]


def test_the_log_is_told_every_secret_of_the_settings(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path, database_url="postgresql://user:p%40ss@db/septet")
    token = admin_token(settings)
    assert set(secrets_of(settings)) >= {token, "p%40ss", "p@ss"}
    assert "given" in secrets_of(read_settings(data_dir=tmp_path, admin_token="given"))


@pytest.mark.parametrize(("given", "expected"), [("mine", "mine"), ("", None)])
def test_an_empty_admin_token_is_none(tmp_path: Path, given: str, expected: str | None) -> None:
    settings = read_settings(data_dir=tmp_path, admin_token=given)
    assert known_admin_token(settings) == expected


@pytest.mark.parametrize(
    ("host", "url", "expected"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:8000"),
        ("0.0.0.0", "", "http://127.0.0.1:8000"),
        ("::", "", "http://[::1]:8000"),
        ("127.0.0.1", "https://septet.example/", "https://septet.example"),
        ("127.0.0.1", "http://10.0.0.9:8000/api/v1", "http://10.0.0.9:8000"),
        ("127.0.0.1", "https://example.com/septet/api/v1/", "https://example.com/septet"),
    ],
)
def test_the_api_is_found_where_a_client_reaches_it(host: str, url: str, expected: str) -> None:
    assert api_url(read_settings(host=host), Access(api_url=url)) == expected


@pytest.mark.parametrize(
    "url",
    ["notaurl", "127.0.0.1:8000", "localhost:8000", "ftp://septet.example", "http://", "h://["],
)
def test_an_api_that_has_no_web_address_is_one_line(
    septet: Callable[..., Result], url: str
) -> None:
    done = septet("site", "list", env={"SEPTET_API_URL": url})
    assert done.exit_code == 2
    assert done.stderr == (
        "error: SEPTET_API_URL: must be an http:// or https:// address, such as "
        "http://127.0.0.1:8000. Correct it in the environment or in .env\n"
    )


def test_a_wrong_setting_is_one_line_without_its_value() -> None:
    with pytest.raises(Failed) as failed:
        read_settings(port=0, log_level="loud\nforged")
    assert failed.value.code is Code.USAGE
    assert failed.value.sentence.count("SEPTET_") == 2
    assert "\n" not in failed.value.sentence
    assert "forged" not in failed.value.sentence


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (" kafka-1:9092 , kafka-2.example:1 ", "kafka-1:9092,kafka-2.example:1"),
        ("127.0.0.1:65535", "127.0.0.1:65535"),
        ("[::1]:9092", "[::1]:9092"),
        ("  ", "127.0.0.1:19092"),
    ],
)
def test_the_brokers_are_hosts_with_ports(given: str, read: str) -> None:
    assert read_settings(kafka_bootstrap_servers=given).brokers == read


@pytest.mark.parametrize(
    "given",
    [
        *("garbage", "127.0.0.1:99999", "kafka:0", "kafka:", ":9092", "kafka:9092,", "a:1,,b:2"),
        *("kafka:9092;other:9092", "::1:9092", "[kafka]:9092", "[::1]", "http://kafka:9092"),
        *("kafka:\u0661", "kafka :9092", "user@kafka:9092"),
    ],
)
def test_brokers_that_cannot_be_are_one_line(given: str) -> None:
    with pytest.raises(Failed) as failed:
        read_settings(kafka_bootstrap_servers=given)
    assert failed.value.code is Code.USAGE
    assert failed.value.sentence.startswith(
        "SEPTET_KAFKA_BOOTSTRAP_SERVERS: must be host:port, with commas between several"
    )


@pytest.mark.parametrize("token", ["with blank", "tab\t", "t\u00f6ken", "two\nlines", " ", "\x7f"])
def test_an_admin_token_that_fits_into_no_header_is_one_line(token: str) -> None:
    with pytest.raises(Failed) as failed:
        read_settings(admin_token=token)
    assert failed.value.code is Code.USAGE
    assert failed.value.sentence.startswith("SEPTET_ADMIN_TOKEN: must be printable ASCII")
    assert known_admin_token(read_settings(admin_token="!~azAZ09")) == "!~azAZ09"


@pytest.mark.parametrize("command", ["up", "demo", "api", "migrate"])
def test_a_data_folder_that_cannot_be_used_is_one_line(
    septet: Callable[..., Result], tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = septet(command, env={"SEPTET_DATA_DIR": str(tmp_path / "file" / "data")})
    assert done.exit_code == 2
    assert done.stderr.startswith("error: SEPTET_DATA_DIR: cannot write into ")


def test_children_inherit_the_environment_and_what_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ELSEWHERE", "kept")
    environment = inherited(port="1", kafka_bootstrap_servers="")
    assert environment["ELSEWHERE"] == "kept"
    assert environment["SEPTET_PORT"] == "1"
    assert environment["SEPTET_KAFKA_BOOTSTRAP_SERVERS"] == ""
