"""Whom a batch asks: the installation's provider, or the account's own with its key of now."""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from events.account import AiProviderChosen, AiProviderDropped
from events.envelope import Envelope
from events.message import Event
from events.prices import LOCAL, Models
from events.topics import Placed
from projections.database import create_tables, open_engine
from projections.projector import project
from services.settings import Settings
from services.stage_workers.ai import choice
from services.stage_workers.ai.choice import own_credential, provider_of
from services.stage_workers.ai.instant import InstantProvider
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import Provider, ProviderHalted
from services.stage_workers.ai.openai.provider import OpenAIProvider
from services.vault import Secret, Vault

AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ME, OTHER = "account-a", "account-b"
URL, THERE = "https://api.openai.com/v1", "https://gateway.example/v1"
OWN = Models(text="gpt-5-mini", image="local-1", embedding="local-1", own=True)
INSTALLED = Models(text="gpt-5", image="local-1", embedding="local-1")
KEY, WRONG = bytes(range(32)), bytes(32)


@dataclass
class World:
    """A read model, a vault, and what happens to accounts."""

    engine: sa.Engine
    vault: Vault
    position: int = 0

    def happen(self, account_id: str, event: Event) -> None:
        self.position += 1
        number = f"msg-{self.position}"
        envelope = Envelope(id=number, account_id=account_id, at=AT, cause=number, message=event)
        project(self.engine, [Placed(self.position, envelope)], lambda _, why: pytest.fail(why))

    def choose(self, account_id: str, key: str | None, url: str = URL) -> None:
        """Do what the API does for a choice."""
        secret_id = None if key is None else f"secret-{account_id}-{self.position}"
        if key is not None and secret_id is not None:
            self.vault.put(Secret(account_id, secret_id, url), key, AT)
        self.happen(account_id, AiProviderChosen(base_url=url, models=OWN, secret_id=secret_id))

    def chooser(self, vault: Vault | None = None, **settings: Any) -> "Chooser":
        return Chooser(self, settings_of(**settings), vault or self.vault)


class Chooser:
    """A stage worker's process, as far as it chooses."""

    def __init__(self, world: World, settings: Settings, vault: Vault) -> None:
        self.world, self.settings, self.vault = world, settings, vault
        self.provider_of = provider_of(settings, world.engine, vault)

    def __call__(self, account_id: str, models: Models) -> Provider:
        async def ask() -> Provider:
            return await self.provider_of(account_id, models)

        return asyncio.run(ask())

    def halted(self, account_id: str, models: Models, kind: str = "misconfigured") -> str:
        """Return the reason for which the run pauses."""
        with pytest.raises(ProviderHalted) as stop:
            self(account_id, models)
        halt = stop.value.halt
        assert (halt.kind, halt.wait_seconds) == (kind, 0)
        return halt.detail

    def credential(self, account_id: str) -> tuple[str, str]:
        found = own_credential(self.settings, self.world.engine, self.vault, account_id)
        return found.base_url, found.api_key


def settings_of(**given: Any) -> Settings:
    defaults = {"ai_allowed_hosts": "api.openai.com,gateway.example"}
    return Settings(_env_file=None, **{**defaults, **given})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(choice, "LOOK_EVERY", 0)
    engine = open_engine(f"sqlite:///{tmp_path / 'read-model.db'}")
    create_tables(engine)
    vault = open_with(tmp_path, KEY)
    yield World(engine, vault)
    vault.close()
    engine.dispose()


def open_with(folder: Path, *keys: bytes) -> Vault:
    vault = Vault(open_engine(f"sqlite:///{folder / 'vault.db'}"), keys)
    vault.create_tables()
    return vault


REMOTE = {"ai_provider": "openai", "ai_text_model": "gpt-5", "ai_api_key": "of-the-installation"}


@pytest.mark.parametrize(
    ("settings", "models", "kind"),
    [
        ({}, LOCAL, LocalProvider),
        (REMOTE, INSTALLED, OpenAIProvider),
        ({"ai_provider": "instant"}, Models(text="instant", image="instant"), InstantProvider),
        # the installation was changed while the run goes on
        (REMOTE, LOCAL, LocalProvider),
        ({"ai_provider": "instant"}, LOCAL, LocalProvider),
    ],
)
def test_without_a_choice_a_run_asks_the_installation(
    world: World, settings: dict[str, str], models: Models, kind: type
) -> None:
    assert isinstance(world.chooser(**settings)(ME, models), kind)


@pytest.mark.parametrize("settings", [{}, REMOTE, {"ai_provider": "instant"}])
def test_with_a_choice_an_account_is_asked_for_at_its_own_address_with_its_own_key(
    world: World, settings: dict[str, str]
) -> None:
    world.choose(ME, "mine", THERE)
    world.choose(OTHER, "theirs")
    chooser = world.chooser(**settings, ai_timeout_seconds=7, ai_calls_at_once=3)
    assert isinstance(chooser(ME, OWN), OpenAIProvider)
    assert chooser.credential(ME) == (THERE, "mine")
    assert chooser.credential(OTHER) == (URL, "theirs")
    found = own_credential(chooser.settings, world.engine, world.vault, ME)
    assert (found.timeout, found.calls_at_once) == (7, 3)


def test_a_choice_of_one_account_is_nothing_to_another(world: World) -> None:
    world.choose(ME, "mine")
    chooser = world.chooser()
    assert isinstance(chooser(OTHER, LOCAL), LocalProvider)
    assert "has none any more" in chooser.halted(OTHER, OWN)


def test_where_no_key_is_asked_for_none_is_sent(world: World) -> None:
    world.choose(ME, None)
    assert world.chooser(**REMOTE).credential(ME) == (URL, ""), "not the installation's key either"


def test_a_provider_is_kept_for_its_credential_and_let_go_with_it(world: World) -> None:
    world.choose(ME, "mine")
    world.choose(OTHER, "theirs")
    chooser = world.chooser(**REMOTE)
    first, theirs, installed = chooser(ME, OWN), chooser(OTHER, OWN), chooser(ME, INSTALLED)
    assert len({id(one) for one in (first, theirs, installed)}) == 3
    assert chooser(ME, OWN) is first
    assert chooser(OTHER, INSTALLED) is installed
    world.choose(ME, "another")
    second = chooser(ME, OWN)
    assert second is not first
    assert chooser(ME, OWN) is second
    assert chooser(OTHER, OWN) is theirs


# A run goes on with whom it began


def test_a_run_that_began_at_the_installation_stays_there(world: World) -> None:
    chooser = world.chooser(**REMOTE)
    before = chooser(ME, INSTALLED)
    world.choose(ME, "mine")
    assert chooser(ME, INSTALLED) is before
    assert isinstance(chooser(ME, LOCAL), LocalProvider)


def test_a_run_that_began_at_the_accounts_provider_has_its_key_of_the_moment(world: World) -> None:
    world.choose(ME, "mine")
    chooser = world.chooser(**REMOTE)
    assert chooser.credential(ME) == (URL, "mine")
    world.choose(ME, "another", THERE)
    assert chooser.credential(ME) == (THERE, "another")


def test_without_a_provider_any_more_the_run_pauses_and_is_not_asked_for_elsewhere(
    world: World,
) -> None:
    world.choose(ME, "mine")
    world.happen(ME, AiProviderDropped())
    for settings in ({}, REMOTE):
        reason = world.chooser(**settings).halted(ME, OWN)
        assert reason == (
            "The run asks the account's own AI provider, and the account has none any more. "
            "Choose one with septet account ai set and resume the run, or cancel it."
        )
    world.choose(ME, "again")
    assert isinstance(world.chooser()(ME, OWN), OpenAIProvider)


@pytest.mark.parametrize("now", ["local", "instant"])
def test_a_model_that_the_installation_no_longer_has_pauses_the_run(world: World, now: str) -> None:
    assert world.chooser(ai_provider=now).halted(ME, INSTALLED) == (
        f"The run asks the model gpt-5, and this installation's provider is now {now}. "
        "Set SEPTET_AI_PROVIDER to openai again and resume the run, or cancel it."
    )


# What pauses a run


def test_an_address_that_is_on_the_list_no_longer_is_not_asked(world: World) -> None:
    world.choose(ME, "mine", THERE)
    assert isinstance(world.chooser()(ME, OWN), OpenAIProvider)
    reason = world.chooser(ai_allowed_hosts="api.openai.com").halted(ME, OWN)
    assert reason == (
        "The account's AI provider is not asked, as its address https://gateway.example is not "
        "among the hosts that this installation allows. Its operator can add it to "
        "SEPTET_AI_ALLOWED_HOSTS."
    )


@pytest.mark.parametrize("keys", [(WRONG,), ()])
def test_a_worker_with_another_key_pauses_the_run_and_says_what_to_do(
    world: World, tmp_path: Path, keys: tuple[bytes, ...]
) -> None:
    world.choose(ME, "mine")
    vault = open_with(tmp_path, *keys)
    assert world.chooser(vault).halted(ME, OWN, "key_refused") == (
        "The API key of the account's AI provider was sealed with a key that this process does "
        "not have. The operator has to give every process the same SEPTET_SECRETS_KEY."
    )
    vault.close()


def test_a_key_that_is_not_in_the_vault_pauses_the_run(world: World) -> None:
    world.choose(ME, "mine")
    world.vault.forget(ME, world.vault.held()[ME])
    reason = world.chooser().halted(ME, OWN)
    assert reason == (
        "The API key of the account's AI provider is no longer stored. "
        "Set it again with septet account ai set."
    )


def test_an_event_cannot_have_a_key_sent_elsewhere(world: World) -> None:
    """Whoever can write events, or move rows, still does not learn what is sealed."""
    world.choose(ME, "mine")
    (secret_id,) = world.vault.held()[ME]
    world.happen(ME, AiProviderChosen(base_url=THERE, models=OWN, secret_id=secret_id))
    assert "given for another address" in world.chooser().halted(ME, OWN, "key_refused")
    world.happen(OTHER, AiProviderChosen(base_url=URL, models=OWN, secret_id=secret_id))
    assert "no longer stored" in world.chooser().halted(OTHER, OWN)


def test_no_reason_holds_a_key(world: World, tmp_path: Path) -> None:
    planted = "planted-key-0123456789"
    world.choose(ME, planted, THERE)
    vault = open_with(tmp_path, WRONG)
    assert planted not in world.chooser(vault).halted(ME, OWN, "key_refused")
    assert planted not in world.chooser(ai_allowed_hosts="").halted(ME, OWN)
    vault.close()
    chooser = world.chooser(secrets_key=base64.b64encode(KEY).decode(), **REMOTE)
    assert planted not in repr(own_credential(chooser.settings, world.engine, world.vault, ME))
    assert planted not in repr(chooser(ME, OWN))


# What is only late


def test_a_choice_that_is_projected_a_moment_later_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    async def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            world.choose(ME, "mine")

    monkeypatch.setattr("services.stage_workers.ai.choice.asyncio.sleep", sleep)
    assert isinstance(world.chooser()(ME, OWN), OpenAIProvider)
    assert len(looks) == 3


def test_a_key_that_was_replaced_between_two_looks_is_looked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.choose(ME, "mine")
    old = world.vault.held()[ME]
    open_ = world.vault.open

    def replaced(secret: Secret) -> str:
        if secret.secret_id in old and world.vault.held()[ME] == old:
            world.choose(ME, "another")
            world.vault.forget(ME, old)
        return open_(secret)

    monkeypatch.setattr(world.vault, "open", replaced)
    assert isinstance(world.chooser()(ME, OWN), OpenAIProvider)
    assert world.chooser().credential(ME) == (URL, "another")


def test_a_read_model_that_is_away_is_no_halt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker ends and the request comes again: the run is not paused for it."""

    def away(*_: object) -> None:
        raise sa.exc.OperationalError("select", {}, Exception("away"))

    world.choose(ME, "mine")
    monkeypatch.setattr("projections.accounts.ai_choice", away)
    with pytest.raises(sa.exc.OperationalError):
        world.chooser()(ME, OWN)
