"""How an endpoint sends a command: once, whatever happens, and with its outcome as the answer."""

import asyncio
import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Request

from events.envelope import Envelope
from events.ids import derive
from events.kafka.connection import AnswerLost, NothingSent
from events.message import Command
from events.topics import command_record
from events.trace import is_trace
from projections import receipts
from projections.receipts import ReceiptRow
from services.api.dependencies import InParts, Parts, Who, known_form, only_admin
from services.api.limits import RawBody
from services.api.lookups import AWAY, look_up
from services.api.pending import REMEMBERED, SentCommand, sent
from services.api.problems import (
    Forbidden,
    InvalidRequest,
    Problem,
    StillPending,
    Unavailable,
    refused,
)

ANSWER_WITHIN = 4.5  # seconds; the contract's 5 count from the request to its answer
ADMIN = "admin"
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True)
class Sender:
    """Sends one request's commands and waits for their outcomes.

    `command_id` is the first command's id: it follows from scope and Idempotency-Key where there
    is one, so that a repeated request is the same command.
    """

    parts: Parts
    scope: str
    account_id: str
    actor: str
    command_id: str
    idempotency_key: str | None
    digest: str
    traceparent: str | None

    async def __call__(
        self,
        command: Command,
        site_id: str | None = None,
        run_id: str | None = None,
    ) -> ReceiptRow:
        """Return the receipt of the accepted command.

        Raises StillPending, Unavailable, or the problem that the refusal is.
        """
        return (await self.all((command,), site_id, run_id))[0]

    async def all(
        self,
        commands: Sequence[Command],
        site_id: str | None = None,
        run_id: str | None = None,
    ) -> list[ReceiptRow]:
        """Return the receipts of all commands of the request, in their order."""
        at = self.parts.clock()
        envelopes = [
            Envelope(
                id=part_id(self.command_id, number),
                account_id=self.account_id,
                site_id=site_id,
                run_id=run_id,
                at=at,
                cause=part_id(self.command_id, number),
                actor=self.actor,
                traceparent=self.traceparent,
                message=command,
            )
            for number, command in enumerate(commands)
        ]
        found = await self._outcomes(envelopes)
        for receipt in found:
            if receipt.code is not None:
                raise refused(receipt.code, receipt.detail or "", receipt.numbers)
        return found

    async def nothing(self) -> list[ReceiptRow]:
        """Return no receipt; a request that becomes no command takes its Idempotency-Key too."""
        if self.idempotency_key is not None:
            await self._claim(
                [
                    SentCommand(
                        command_id=self.command_id,
                        scope=self.scope,
                        account_id=self.account_id,
                        idempotency_key=self.idempotency_key,
                        digest=self.digest,
                        name="",
                        body=b"",
                        parts=1,
                        sent_at=self.parts.clock(),
                    )
                ]
            )
        return []

    async def _outcomes(self, envelopes: Sequence[Envelope]) -> list[ReceiptRow]:
        known = await self._claim(
            [
                sent(
                    envelope,
                    self.scope,
                    None if number else self.idempotency_key,
                    self.digest,
                    len(envelopes),
                )
                for number, envelope in enumerate(envelopes)
            ]
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                for number, envelope in enumerate(envelopes):
                    if not (known and await self._is_answered(envelope)):
                        await self._publish(envelope, envelopes if number == 0 else ())
                return [
                    await self.parts.receipts.wait(envelope.account_id, envelope.id)
                    for envelope in envelopes
                ]
        except TimeoutError as error:
            raise StillPending(self.command_id) from error

    async def _claim(self, rows: Sequence[SentCommand]) -> bool:
        try:
            claim = await asyncio.to_thread(self.parts.pending.claim, rows)
        except AWAY as error:
            raise Unavailable from error
        if claim == "conflict":
            detail = "This Idempotency-Key was used for another request in the last 24 hours."
            raise Problem("idempotency_conflict", detail)
        return claim == "known"

    async def _is_answered(self, envelope: Envelope) -> bool:
        try:
            receipt = await look_up(
                self.parts.engine, lambda tx: receipts.find(tx, envelope.account_id, envelope.id)
            )
        except Unavailable:
            return False  # it may have been sent before, so nobody may say that it was not
        return receipt is not None

    async def _publish(self, envelope: Envelope, all_of_it: Sequence[Envelope]) -> None:
        """Send; `all_of_it` is what can still be taken back when surely nothing was sent."""
        try:
            await self.parts.publish(command_record(envelope))
        except AnswerLost:
            return  # it may have arrived: only the receipt can tell
        except NothingSent as error:
            ids = [one.id for one in all_of_it]
            if ids and await self._withdraw(ids):
                raise Unavailable from error

    async def _withdraw(self, ids: Sequence[str]) -> bool:
        try:
            return await asyncio.to_thread(self.parts.pending.withdraw, ids)
        except AWAY:
            return False  # the row stays, so the command will be sent


def part_id(command_id: str, number: int) -> str:
    """Return the id of a request's command; further ones follow from the first's."""
    return derive("cmd", command_id, number) if number else command_id


def digest_of(request: Request, body: bytes) -> str:
    """Return what makes two requests the same: method, path, query and body."""
    digest = hashlib.sha256()
    for part in (request.method.encode(), path_of(request), query_of(request), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def path_of(request: Request) -> bytes:
    """Return the path; its own bytes, as a URL would need a sane Host header."""
    path: str = request.scope["path"]
    return path.encode(errors="surrogateescape")


def query_of(request: Request) -> bytes:
    """Return the query as it came."""
    query: bytes = request.scope["query_string"]
    return query


def idempotency_key_of(request: Request) -> str | None:
    """Return the request's Idempotency-Key. Raises InvalidRequest for one that cannot be kept."""
    key = request.headers.get("idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key: must be 1 to 255 printable ASCII characters.")
    return key


async def command_id_under(
    parts: Parts, scope: str, key: str, account_of: Callable[[str], str]
) -> str:
    """Return the id of the command under an Idempotency-Key.

    The same key means the same command for 24 hours after its outcome, then the next one. Where the
    account follows from the command, `account_of` says which.
    """
    for turn in itertools.count():
        command_id = derive("cmd", scope, key, turn) if turn else derive("cmd", scope, key)
        account_id = account_of(command_id)
        at = await look_up(parts.engine, _outcome_at(account_id, command_id))
        if at is None or parts.clock() - at < REMEMBERED:
            return command_id
    raise AssertionError  # count() has no end


def _outcome_at(account_id: str, command_id: str) -> Callable[[sa.Connection], datetime | None]:
    def query(tx: sa.Connection) -> datetime | None:
        receipt = receipts.find(tx, account_id, command_id)
        return None if receipt is None else receipt.at

    return query


def traceparent_of(request: Request) -> str | None:
    """Return the caller's trace, when it is one; else the command's record gets one of its own."""
    text = request.headers.get("traceparent")
    return text if is_trace(text) else None


async def may_write(who: Who) -> None:
    """Refuse roles that only read."""
    if who.role == "viewer":
        raise Forbidden


async def sender(
    who: Who,
    _: Annotated[None, Depends(may_write)],
    body: RawBody,
    request: Request,
    parts: InParts,
) -> Sender:
    """Return what sends this request's commands for the caller's account."""
    return await _sender(parts, request, body, who.account_id, who.key_id, lambda _: who.account_id)


async def admin_sender(
    _: Annotated[None, Depends(only_admin)], body: RawBody, request: Request, parts: InParts
) -> Sender:
    """Return what sends this request's commands for the operator of the installation."""
    named: str | None = request.path_params.get("account_id")
    if named is None:
        return await _sender(parts, request, body, ADMIN, ADMIN, account_of)
    scope = f"{ADMIN}/{known_form(named)}"
    return await _sender(parts, request, body, scope, ADMIN, lambda _: named)


def account_of(command_id: str) -> str:
    """Return the id of the account that this AccountRequested opens."""
    return derive("account", command_id)


async def _sender(
    parts: Parts,
    request: Request,
    body: bytes,
    scope: str,
    actor: str,
    account: Callable[[str], str],
) -> Sender:
    key = None if request.method == "DELETE" else idempotency_key_of(request)
    if key is None:
        command_id = parts.new_id("cmd")
    else:
        command_id = await command_id_under(parts, scope, key, account)
    return Sender(
        parts=parts,
        scope=scope,
        account_id=account(command_id),
        actor=actor,
        command_id=command_id,
        idempotency_key=key,
        digest=digest_of(request, body),
        traceparent=traceparent_of(request),
    )


Send = Annotated[Sender, Depends(sender)]
AdminSend = Annotated[Sender, Depends(admin_sender)]
