"""The endpoints with which an account has its runs ask an AI provider of its own."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from events.commands import AiProviderDropRequested, AiProviderRequested
from events.prices import LOCAL, PER_CALL, Models
from projections import accounts
from services.allowed_hosts import NotAllowed, checked
from services.api.accounts import ManagesKeys
from services.api.dependencies import InParts, Parts, Read, Who
from services.api.limits import Body, json_body
from services.api.lookups import AWAY, look_up
from services.api.problems import InvalidRequest, Problem, Unavailable
from services.api.schemas import ACCEPTED, json_request
from services.api.sender import Send
from services.vault import NoKey, Secret, hint_of

router = APIRouter(prefix="/api/v1/account/ai", tags=["account"])

TIDY_EVERY = 3600.0  # seconds
Source = Literal["account", "installation"]
P = ParamSpec("P")
T = TypeVar("T")


def _name(text: str) -> str:
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("must be ASCII without spaces")
    if text in PER_CALL:  # it would be paid by the call, whatever it uses
        raise ValueError("is the name of a model of Septet's own; leave the field out to have it")
    return text


def _sendable(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("must be ASCII without spaces, as it goes into a header")
    return key


ModelName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)]
ProviderKey = Annotated[SecretStr, Field(min_length=1, max_length=1000), AfterValidator(_sendable)]


class NewAiProvider(Body):
    """A provider of one's own: what speaks OpenAI's API at `base_url`, up to and with /v1.

    It replaces the choice before as a whole. Without `api_key` none is sent; without a model for
    images or embeddings Septet's own is taken, at no cost of the provider.
    """

    base_url: Annotated[str, Field(min_length=1)]
    api_key: ProviderKey | None = None
    text_model: ModelName
    image_model: ModelName | None = None
    embedding_model: ModelName | None = None

    @property
    def models(self) -> Models:
        """The models as runs record them."""
        return Models(
            text=self.text_model,
            image=self.image_model or LOCAL.image,
            embedding=self.embedding_model or LOCAL.embedding,
            own=True,
        )


class AiProvider(BaseModel):
    """Whom the account's runs ask that begin now: the account's own provider or the installation's.

    Of its own it is told where that is, whether a key is stored, and the last characters of a long
    one. A stored key is shown by nothing.
    """

    source: Source
    base_url: str | None
    text_model: str
    image_model: str
    embedding_model: str
    has_key: bool
    key_hint: str | None
    chosen_at: datetime | None


@router.get("", name="ai_provider")
async def ai_provider(who: Who, read: Read, parts: InParts) -> AiProvider:
    """Whom the account's runs ask, and with which models."""
    choice = await read(accounts.ai_choice)
    if choice is None:
        return _shown("installation", None, parts.models, None, None)
    hint = None
    if choice.secret_id is not None:
        hint = await in_vault(parts.vault.hint, who.account_id, choice.secret_id)
    return _shown("account", choice.base_url, choice.models, hint, choice.chosen_at)


@router.put(
    "",
    dependencies=[ManagesKeys],
    openapi_extra=json_request(NewAiProvider),
    responses=ACCEPTED,
)
async def choose_ai_provider(
    send: Send, parts: InParts, body: Annotated[NewAiProvider, Depends(json_body(NewAiProvider))]
) -> AiProvider:
    """Have the account's next runs ask a provider of its own. For keys of the role admin."""
    try:
        base_url = checked(body.base_url, parts.allowed_hosts)
    except NotAllowed as no:
        raise InvalidRequest(f"base_url: {no}") from no
    key = body.api_key.get_secret_value() if body.api_key else None
    secret_id = None if key is None else parts.new_id("secret")
    if key is not None and secret_id is not None:
        secret = Secret(send.account_id, secret_id, base_url)
        await in_vault(parts.vault.put, secret, key, parts.clock())
    command = AiProviderRequested(base_url=base_url, models=body.models, secret_id=secret_id)
    try:
        receipt = await send(command)
    except Problem:  # surely not chosen; of one that is still pending nobody knows
        await forget(parts, send.account_id, secret_id)
        raise
    await tidy(parts, send.account_id, secret_id)
    hint = None if key is None else hint_of(key)
    return _shown("account", base_url, body.models, hint, receipt.at)


@router.delete(
    "",
    status_code=204,
    dependencies=[ManagesKeys],
    response_class=Response,
    responses=ACCEPTED,
)
async def drop_ai_provider(send: Send, parts: InParts) -> None:
    """Have the account's next runs ask the installation's provider; the key is forgotten."""
    await send(AiProviderDropRequested())
    await tidy(parts, send.account_id)


def _shown(
    source: Source, base_url: str | None, models: Models, hint: str | None, at: datetime | None
) -> AiProvider:
    return AiProvider(
        source=source,
        base_url=base_url,
        text_model=models.text,
        image_model=models.image,
        embedding_model=models.embedding,
        has_key=hint is not None,
        key_hint=hint or None,
        chosen_at=at,
    )


async def in_vault(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the vault says, off the event loop. Raises Unavailable or InvalidRequest."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except NoKey as no:
        raise InvalidRequest(f"api_key: {no}") from no
    except AWAY as error:
        raise Unavailable from error


async def forget(parts: Parts, account_id: str, secret_id: str | None) -> None:
    """Forget a secret that no event names; where the vault is away it stays, and stays sealed."""
    if secret_id is not None:
        try:
            await asyncio.to_thread(parts.vault.forget, account_id, [secret_id])
        except AWAY:
            return


async def tidy(parts: Parts, account_id: str, mine: str | None = None) -> None:
    """Forget the account's secrets that are over.

    `mine` was written for a command that has its outcome: where no event names it, a request before
    this one, under the same Idempotency-Key, was first.
    """
    try:
        past, choice = await look_up(
            parts.engine,
            lambda tx: (accounts.past_secrets(tx, account_id), accounts.ai_choice(tx, account_id)),
        )
        if mine is not None and (choice is None or choice.secret_id != mine):
            past = past | {mine}
        await asyncio.to_thread(parts.vault.forget, account_id, past)
    except (Unavailable, *AWAY):
        return  # the choice is made; `keep_tidy` comes by


async def keep_tidy(parts: Parts) -> None:
    """Forget secrets that are over, also of changes whose outcome no request waited for."""
    while True:
        try:
            held = await asyncio.to_thread(parts.vault.held)
        except AWAY:
            held = {}
        for account_id in held:
            await tidy(parts, account_id)
        await asyncio.sleep(TIDY_EVERY)
