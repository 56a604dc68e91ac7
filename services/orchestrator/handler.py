"""One message, one append: read the streams, decide, append once; a group of messages together."""

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.commands import RunRequested
from events.envelope import Envelope
from events.ids import run_id_of
from events.message import Message, StreamKind
from events.prices import LOCAL, Models
from events.receipts import MessageRefused
from events.topics import is_published
from events.trace import is_trace
from services.clock import Clock
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.evolve import evolve_account, evolve_run, evolve_site
from services.orchestrator.rules.state import Account, Run, Site, State
from services.orchestrator.store import Recorded, StaleWriter, Store, StoreIsNewer

logger = logging.getLogger(__name__)

ATTEMPTS = 8
NOT_ITS_FAULT = (OSError, StoreIsNewer)  # the store cannot be used: the message keeps its chance
REMEMBERED = 20_000  # streams whose last state is kept; the least recently used go first


class KnownBug(Exception):
    """A message comes again that hit a bug before: it has its outcome, and its dead letter."""


def _raise_known_bug(receipt: Message) -> None:
    if isinstance(receipt, MessageRefused) and receipt.code == "internal_error":
        raise KnownBug("this message hit an error of ours before")


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream as of a version: its folded state, whose it is, and the trace that it began with."""

    version: int
    state: Any
    account_id: str | None = None
    site_id: str | None = None
    trace: str | None = None

    def is_foreign_to(self, received: Envelope, kind: StreamKind) -> bool:
        """Tell whether the stream belongs to another account, or the run to another site."""
        if self.account_id is None:
            return False
        elsewhere = kind == "run" and self.site_id != received.site_id
        return elsewhere or self.account_id != received.account_id


FOLD: dict[str, Callable[[Any, Envelope], Any]] = {
    "run": lambda state, one: evolve_run(state, one.message),
    "site": lambda state, one: evolve_site(state, one.message, one.run_id or ""),
    "account": lambda state, one: evolve_account(state, one.message, one.run_id or ""),
}
EMPTY: dict[str, Callable[[str], Any]] = {
    "run": lambda id_: Run(id=id_),
    "site": lambda id_: Site(id=id_),
    "account": lambda id_: Account(id=id_),
}


def _after(seen: Seen, kind: StreamKind, one: Recorded) -> Seen:
    envelope = one.envelope
    state = FOLD[kind](seen.state, envelope)
    trace = seen.trace or envelope.traceparent
    return Seen(one.originator_version, state, envelope.account_id, envelope.site_id, trace)


def receipt_stream(message_id: str) -> str:
    """Return the stream that holds a message's one outcome; no other stream begins like it."""
    return f"receipt-{message_id}"


def streams_of(received: Envelope) -> dict[StreamKind, str]:
    """Return the streams that a message may touch, by kind."""
    streams: dict[StreamKind, str] = {
        "account": received.account_id,
        "receipt": receipt_stream(received.id),
    }
    if received.site_id is not None:
        streams["site"] = received.site_id
    if received.run_id is not None:
        streams["run"] = received.run_id
    return streams


def traced(received: Envelope, of_run: str | None) -> Envelope:
    """Return the message with a trace for all that follows: its own, the run's, or a new one.

    So timers, and whoever pauses or resumes and names no trace, go on with that of the command that
    started the run.
    """
    if is_trace(received.traceparent):
        return received
    trace = of_run if is_trace(of_run) else received.trace
    return received.model_copy(update={"traceparent": trace})


class Handler:
    """Gives every message its one outcome, whatever is redelivered, retried or raced.

    It keeps each stream's last state and reads only what is newer. States are immutable, and what
    a failed append would have changed is dropped with it.
    """

    def __init__(
        self, store: Store, now: Clock, batch_timeout: int, models: Models = LOCAL
    ) -> None:
        self._store, self._now, self._batch_timeout = store, now, batch_timeout
        self._models = models
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def handle(self, received: Sequence[Envelope]) -> list[tuple[Envelope, Exception]]:
        """Handle the messages in order; return those that hit a bug of ours, now or before.

        All go into one append. When a writer was faster or one of them fails, nothing was written
        and each is handled alone. What hit a bug just now has no outcome until `give_up`. Raises
        what the store raises when it is away, and StoreIsNewer.
        """
        try:
            self._together(received)
        except NOT_ITS_FAULT:
            raise
        except Exception as error:  # noqa: BLE001  # whose fault it is shows when each goes alone
            logger.info("handling one by one", extra={"reason": type(error).__name__})
            return self._singly(received)
        return []

    def _together(self, received: Sequence[Envelope]) -> None:
        view = dict[str, Seen]()
        new: list[Recorded] = []
        answered: set[str] = set()
        for envelope in received:
            if envelope.id not in answered and (made := self._decide(envelope, view, fresh=False)):
                answered.add(envelope.id)
                new += made
        self._require_current(view, {one.originator_id for one in new})
        self._store.append(new)
        self._remember(view)

    def _require_current(self, view: Mapping[str, Seen], written: set[str]) -> None:
        """Raise StaleWriter when a stream that is only read has changed since it was remembered.

        The version check guards what a decision writes; a refusal, or a report that nobody waits
        for, writes nothing but its receipt, and another orchestrator may have been here meanwhile.
        """
        for stream, seen in view.items():
            if stream not in written and self._store.read(stream, after=seen.version):
                raise StaleWriter(stream)

    def _singly(self, received: Sequence[Envelope]) -> list[tuple[Envelope, Exception]]:
        bugs: dict[str, tuple[Envelope, Exception]] = {}
        for one in received:
            if one.id not in bugs:
                bugs |= {bug[0].id: bug for bug in self._alone(one)}
        return list(bugs.values())

    def _alone(self, received: Envelope) -> list[tuple[Envelope, Exception]]:
        try:
            self._with_retries(received)
        except NOT_ITS_FAULT:
            raise
        except KnownBug as error:
            return [(received, error)]
        except Exception as error:
            logger.exception("a message hit a bug", extra={"message_id": received.id})
            return [(received, error)]
        return []

    def _with_retries(self, received: Envelope) -> None:
        for attempt in range(ATTEMPTS):
            for known in self._store.read(receipt_stream(received.id)):
                _raise_known_bug(known.envelope.message)
                return  # it has its receipt: one outcome, however often a message comes
            view = dict[str, Seen]()
            new = self._decide(received, view, fresh=True)
            try:
                self._store.append(new)
            except StaleWriter:
                # without a pause, writers on a hot site starve each other
                time.sleep(random.uniform(0, 0.002 * 2**attempt))
                continue
            self._remember(view)
            return
        raise TimeoutError(f"{received.id} kept losing its race")

    def give_up(self, received: Envelope) -> None:
        """Refuse a message that hit a bug, when its dead letter is safe: so none is ever lost.

        Raises what the store raises when it is away.
        """
        detail = "This hit an error of ours; it has been set aside for the operators."
        refused = MessageRefused(kind=received.message.TYPE, code="internal_error", detail=detail)
        envelope = received.reply(refused, 0, self._now())
        try:
            self._store.append([Recorded(receipt_stream(received.id), 1, envelope)])
        except StaleWriter:
            return  # another orchestrator has just given the outcome
        except OSError:
            raise
        except Exception:  # a message that cannot even be refused must not come again for ever
            logger.exception("a message has no receipt", extra={"message_id": received.id})

    def _decide(self, received: Envelope, view: dict[str, Seen], *, fresh: bool) -> list[Recorded]:
        """Return what to append, and enter the states after it into the view."""
        if isinstance(received.message, RunRequested) and received.run_id is None:
            received = received.model_copy(update={"run_id": run_id_of(received.id)})
        at = self._now()
        streams = streams_of(received)
        seen: dict[StreamKind, Seen] = {
            kind: view.get(stream) or self._look(kind, stream, fresh=fresh)
            for kind, stream in streams.items()
            if kind != "receipt"
        }
        state = State(
            now=at,
            batch_timeout=self._batch_timeout,
            models=self._models,
            is_foreign=any(one.is_foreign_to(received, kind) for kind, one in seen.items()),
            **{kind: one.state for kind, one in seen.items()},
        )
        known = None if state.is_foreign else seen.get("run")
        received = traced(received, known.trace if known else None)
        new: list[Recorded] = []
        events = decide(state, received.message)
        shown = max((n for n, event in enumerate(events) if is_published(event)), default=0)
        for number, event in enumerate(events):
            stream = streams[event.STREAM]
            envelope = received.reply(event, number, at, more=number < shown)
            before = seen.get(event.STREAM)
            version = before.version + 1 if before else 1
            new.append(Recorded(stream, version, envelope))
            if before is not None:
                seen[event.STREAM] = _after(before, event.STREAM, new[-1])
        view.update({streams[kind]: one for kind, one in seen.items()})
        return new

    def _look(self, kind: StreamKind, stream: str, *, fresh: bool) -> Seen:
        known = self._seen.get(stream)
        if known is not None and not fresh:
            return known
        seen = known or Seen(0, EMPTY[kind](stream))
        for one in self._store.read(stream, after=seen.version):
            seen = _after(seen, kind, one)
        return seen

    def _remember(self, view: dict[str, Seen]) -> None:
        for stream, seen in view.items():
            if seen.version:
                self._seen[stream] = seen
                self._seen.move_to_end(stream)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
