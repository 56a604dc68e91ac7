"""Which provider answers a batch: the installation's, or the one that its account has chosen.

A run keeps the models that it began with, and with them whom it asks. Of an account's own provider
the address and the key are those of the moment: a key that was replaced or dropped is sent no more,
whatever is running.
"""

import asyncio
from collections import OrderedDict

import sqlalchemy as sa

from events.content import Halt
from events.prices import PER_CALL, Models
from projections import accounts
from projections.database import reading
from services.allowed_hosts import NotAllowed, checked
from services.settings import Settings
from services.stage_workers.ai.credential import Credential
from services.stage_workers.ai.instant import InstantProvider
from services.stage_workers.ai.local.provider import LocalProvider
from services.stage_workers.ai.model import Provider, ProviderHalted, ProviderOf
from services.stage_workers.threads import in_thread
from services.vault import Gone, Secret, Unreadable, Vault

REMEMBERED = 200  # providers, each with its connections; the least recently used go first
LOOKS = 10  # at a choice that should be there: accounts and sites are projected side by side
LOOK_EVERY = 0.5  # seconds


def provider_of(settings: Settings, engine: sa.Engine, vault: Vault) -> ProviderOf:
    """Return what chooses the provider of a batch; `engine` is the read model's."""
    local, instant = LocalProvider(), InstantProvider()
    kept: OrderedDict[tuple[str, Models], tuple[Credential, Provider]] = OrderedDict()

    def asked(whose: str, models: Models, credential: Credential) -> Provider:
        """Return the same provider for the same credential, and let go of one for another."""
        before = kept.pop((whose, models), None)
        if before is None or before[0] != credential:
            # Its libraries take 60 MB and a second, which whoever stays local does not pay.
            from services.stage_workers.ai.openai.provider import OpenAIProvider  # noqa: PLC0415

            before = (credential, OpenAIProvider(credential, models, local))
        kept[whose, models] = before
        if len(kept) > REMEMBERED:
            kept.popitem(last=False)
        return before[1]

    async def choose(account_id: str, models: Models) -> Provider:
        if models.own:
            return asked(account_id, models, await own(account_id))
        if models.text in PER_CALL:
            return instant if models.text == InstantProvider.model else local
        if settings.ai_provider != "openai":
            raise misconfigured(
                f"The run asks the model {models.text}, and this installation's provider is now "
                f"{settings.ai_provider}. Set SEPTET_AI_PROVIDER to openai again and resume the "
                "run, or cancel it."
            )
        return asked("", models, credential_of(settings))

    async def own(account_id: str) -> Credential:
        missing = ""
        for look in range(LOOKS):
            await asyncio.sleep(LOOK_EVERY if look else 0)
            try:
                return await in_thread(own_credential, settings, engine, vault, account_id)
            except NotThere as nothing:
                missing = str(nothing)
        raise misconfigured(missing)

    return choose


class NotThere(Exception):
    """No choice or no key is there, perhaps not yet, or it was replaced just now; says which."""


def own_credential(
    settings: Settings, engine: sa.Engine, vault: Vault, account_id: str
) -> Credential:
    """Return whom the account has chosen to ask, and with which key.

    Raises NotThere and ProviderHalted.
    """
    with reading(engine) as tx:
        choice = accounts.ai_choice(tx, account_id)
    if choice is None:
        raise NotThere(
            "The run asks the account's own AI provider, and the account has none any more. "
            "Choose one with septet account ai set and resume the run, or cancel it."
        )
    try:
        base_url = checked(choice.base_url, settings.allowed_hosts)
    except NotAllowed as no:  # the list was longer when it was chosen
        raise misconfigured(f"The account's AI provider is not asked, as its address {no}.") from no
    key = ""
    if choice.secret_id is not None:
        try:
            key = vault.open(Secret(account_id, choice.secret_id, choice.base_url))
        except Gone as no:
            raise NotThere(str(no)) from no
        except Unreadable as no:
            raise ProviderHalted(Halt(kind="key_refused", detail=str(no))) from no
    return _credential(settings, base_url, key)


def credential_of(settings: Settings) -> Credential:
    """Return whom the settings say to ask, and with which key."""
    return _credential(settings, settings.ai_base_url, settings.ai_api_key.get_secret_value())


def _credential(settings: Settings, base_url: str, key: str) -> Credential:
    return Credential(
        base_url=base_url,
        api_key=key,
        timeout=settings.ai_timeout_seconds,
        calls_at_once=settings.ai_calls_at_once,
    )


def misconfigured(detail: str) -> ProviderHalted:
    """Return what pauses the run until somebody has changed a choice or a setting."""
    return ProviderHalted(Halt(kind="misconfigured", detail=detail))
