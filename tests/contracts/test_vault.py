"""What the vault keeps opens for whom it was sealed, with a key of ours, and else not at all."""

import base64
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from projections.database import open_engine
from services import own_files
from services.cli.environment import read_settings, secrets_of
from services.cli.output import Failed
from services.vault import (
    Gone,
    NoKey,
    Secret,
    Unreadable,
    Vault,
    hint_of,
    keys_of,
    new_key,
    open_vault,
    sealed_secrets,
)
from tests.contracts.test_store import DATABASE, postgres  # noqa: F401  # a fixture

AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
PLANTED = "planted-key-0123456789abcdef"
MINE = Secret("account-a", "secret-1", "https://api.openai.com/v1")
OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))

Open = Callable[..., Vault]


@pytest.fixture(params=["sqlite", *(["postgres"] if DATABASE else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    found: str = request.getfixturevalue("postgres")
    return found


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Open the same vault with these keys, as many times as a test likes."""
    vaults: list[Vault] = []

    def open_with(*keys: bytes) -> Vault:
        vault = Vault(open_engine(url), keys)
        vault.create_tables()
        vaults.append(vault)
        return vault

    yield open_with
    for vault in vaults:
        vault.close()


def changed(vault: Vault, **values: object) -> None:
    with vault._engine.begin() as tx:
        tx.execute(sa.update(sealed_secrets).values(**values))


def rows(vault: Vault) -> list[sa.Row[tuple[object, ...]]]:
    with vault._engine.connect() as tx:
        return list(tx.execute(sa.select(sealed_secrets)).all())


def test_what_was_sealed_opens_in_another_process(opened: Open) -> None:
    opened(OLD).put(MINE, PLANTED, AT)
    assert opened(OLD).open(MINE) == PLANTED
    assert opened(OLD).hint("account-a", "secret-1") == "cdef"


def test_nothing_of_it_lies_in_the_file_or_table(opened: Open, tmp_path: Path) -> None:
    opened(OLD).put(MINE, PLANTED, AT)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    written = files + repr([tuple(row) for row in rows(opened(OLD))]).encode()
    assert b"secret-1" in written, "this looks where the row is"
    assert PLANTED.encode() not in written
    assert PLANTED[:-4].encode() not in written
    assert OLD not in written


@pytest.mark.parametrize(
    ("text", "hint"), [("", ""), ("ollama", ""), ("a" * 19, ""), ("a" * 16 + "wxyz", "wxyz")]
)
def test_a_short_key_has_no_hint(text: str, hint: str) -> None:
    assert hint_of(text) == hint


def test_the_same_text_is_never_sealed_alike(opened: Open) -> None:
    vault = opened(OLD)
    vault.put(MINE, PLANTED, AT)
    vault.put(Secret("account-a", "secret-2", MINE.address), PLANTED, AT)
    one, two = rows(vault)
    assert one.nonce != two.nonce
    assert one.sealed != two.sealed


def test_an_id_keeps_its_first_secret(opened: Open) -> None:
    vault = opened(OLD)
    vault.put(MINE, PLANTED, AT)
    vault.put(MINE, "another", AT)
    assert vault.open(MINE) == PLANTED


@pytest.mark.parametrize(
    "asked",
    [
        Secret("account-b", "secret-1", MINE.address),
        Secret("account-a", "secret-2", MINE.address),
    ],
)
def test_another_account_finds_nothing(opened: Open, asked: Secret) -> None:
    vault = opened(OLD)
    vault.put(MINE, PLANTED, AT)
    with pytest.raises(Gone):
        vault.open(asked)
    assert vault.hint(asked.account_id, asked.secret_id) is None


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"account_id": "account-b"}, Secret("account-b", "secret-1", MINE.address)),
        ({"secret_id": "secret-2"}, Secret("account-a", "secret-2", MINE.address)),
        ({}, Secret("account-a", "secret-1", "https://evil.example/v1")),
        ({"address": "https://evil.example/v1"}, Secret("account-a", "secret-1", "https://evil.example/v1")),
        ({"nonce": bytes(12)}, MINE),
        ({"sealed": b"short"}, MINE),
        ({"sealed": bytes(60)}, MINE),
    ],
    ids=["account", "id", "address", "address of the row too", "nonce", "cut", "sealed"],
)  # fmt: skip
def test_a_row_that_was_altered_or_copied_does_not_open(
    opened: Open, change: dict[str, object], asked: Secret
) -> None:
    vault = opened(OLD)
    vault.put(MINE, PLANTED, AT)
    if change:
        changed(vault, **change)
    with pytest.raises(Unreadable, match="not as it was written, or it was given for another"):
        vault.open(asked)


def test_with_another_key_it_is_said_that_the_key_is_another(opened: Open) -> None:
    opened(OLD).put(MINE, PLANTED, AT)
    for keys in ((OTHER,), ()):
        with pytest.raises(Unreadable, match="the same SEPTET_SECRETS_KEY") as no:
            opened(*keys).open(MINE)
        assert not isinstance(no.value, Gone)


def test_a_key_that_pretends_to_be_the_right_one_opens_nothing(opened: Open) -> None:
    opened(OLD).put(MINE, PLANTED, AT)
    other = opened(OTHER)
    changed(other, key_id=other._newest)
    with pytest.raises(Unreadable):
        other.open(MINE)


def test_without_a_key_nothing_is_sealed(opened: Open) -> None:
    vault = opened()
    with pytest.raises(NoKey):
        vault.put(MINE, PLANTED, AT)
    assert rows(vault) == []


def test_a_key_is_rotated_without_a_moment_in_which_something_does_not_open(opened: Open) -> None:
    opened(OLD).put(MINE, PLANTED, AT)
    both = opened(NEW, OLD)
    assert both.open(MINE) == PLANTED
    second = Secret("account-b", "secret-2", MINE.address)
    both.put(second, "second", AT)
    assert opened(OLD, NEW).open(second) == "second", "whoever still has the old order"
    with pytest.raises(Unreadable):
        opened(NEW).open(MINE)
    assert both.seal_anew() == 1
    assert both.seal_anew() == 0
    assert opened(NEW).open(MINE) == PLANTED
    assert opened(NEW).open(second) == "second"
    with pytest.raises(Unreadable):
        opened(OLD).open(MINE)


def test_what_does_not_open_is_not_sealed_anew(opened: Open) -> None:
    opened(OLD).put(MINE, PLANTED, AT)
    both = opened(NEW, OLD)
    changed(both, account_id="account-b")
    before = rows(both)
    assert both.seal_anew() == 0
    assert rows(both) == before
    assert opened().seal_anew() == 0


def test_secrets_are_forgotten_by_account(opened: Open) -> None:
    vault = opened(OLD)
    theirs = Secret("account-b", "secret-2", MINE.address)
    vault.put(MINE, PLANTED, AT)
    vault.put(theirs, "second", AT)
    assert vault.held() == {"account-a": {"secret-1"}, "account-b": {"secret-2"}}
    vault.forget("account-a", ["secret-1", "secret-2", "secret-3"])
    vault.forget("account-b", [])
    assert vault.held() == {"account-b": {"secret-2"}}
    with pytest.raises(Gone):
        vault.open(MINE)


def test_one_of_many_processes_that_start_at_once_makes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, count = tmp_path / "data" / "secrets-key", 8
    together = threading.Barrier(count)
    drafts = iter(range(count))
    monkeypatch.setattr(own_files.os, "getpid", lambda: next(drafts))
    found: list[str] = []

    def make() -> str:
        with suppress(threading.BrokenBarrierError):
            together.wait(
                timeout=5
            )  # nobody has written before all have seen that nothing is there
        return new_key()

    threads = [
        threading.Thread(target=lambda: found.append(own_files.known_or_made(file, make)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(found) == count
    assert set(found) == {file.read_text("ascii")}
    assert [path.name for path in file.parent.iterdir()] == ["secrets-key"]


def test_the_key_of_a_machine_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")
    (key,) = keys_of(settings)
    assert keys_of(settings) == [key]
    assert len(key) == 32
    file = tmp_path / "data" / "secrets-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text("ascii") in secrets_of(settings), "the log blots it out"
    vault = open_vault(settings)
    vault.put(MINE, PLANTED, AT)
    vault.close()


def test_processes_that_share_a_database_make_up_no_key(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path, database_url="postgresql://septet@db/septet")
    assert keys_of(settings) == []
    assert list(tmp_path.iterdir()) == []


def test_keys_are_read_from_the_setting_the_newest_first(tmp_path: Path) -> None:
    one, two = base64.b64encode(OLD).decode(), base64.urlsafe_b64encode(b"\xff\xfe" * 16).decode()
    settings = read_settings(data_dir=tmp_path, secrets_key=f"{one}, {two},")
    assert keys_of(settings) == [OLD, b"\xff\xfe" * 16]
    assert {one, two} <= set(secrets_of(settings))
    assert list(tmp_path.iterdir()) == []


GOOD = base64.b64encode(OLD).decode()


@pytest.mark.parametrize("text", ["short", "a" * 44, GOOD[:-2], f"{GOOD},x", "ü" * 44])
def test_a_wrong_key_stops_the_start_without_being_quoted(text: str) -> None:
    with pytest.raises(Failed) as failed:
        read_settings(secrets_key=text)
    assert failed.value.sentence.startswith("SEPTET_SECRETS_KEY: must be 32 random bytes")
    assert text not in failed.value.sentence


def test_a_wrong_entry_of_the_allow_list_stops_the_start() -> None:
    with pytest.raises(Failed) as failed:
        read_settings(ai_allowed_hosts="api.openai.com,*.com")
    assert failed.value.sentence.startswith("SEPTET_AI_ALLOWED_HOSTS: '*.com' allows more than")
