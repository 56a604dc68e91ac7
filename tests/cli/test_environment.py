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
)
from services.cli.output import Code, Failed

ROOT = Path(__file__).parents[2]


def test_the_example_is_generated_from_the_settings() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == example(), "run make env-example"


def test_the_admin_token_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    assert known_admin_token(settings) is None
    token = admin_token(settings)
    assert admin_token(settings) == known_admin_token(settings) == token
    assert len(token) >= 32
    file = tmp_path / "data" / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["admin-token"]


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
    ],
)
def test_the_api_is_found_where_a_client_reaches_it(host: str, url: str, expected: str) -> None:
    assert api_url(read_settings(host=host), Access(api_url=url)) == expected


def test_a_wrong_setting_is_one_line_without_its_value() -> None:
    with pytest.raises(Failed) as failed:
        read_settings(port=0, log_level="loud\nforged")
    assert failed.value.code is Code.USAGE
    assert failed.value.sentence.count("SEPTET_") == 2
    assert "\n" not in failed.value.sentence
    assert "forged" not in failed.value.sentence


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
