"""One stage's worker: a request in, reports out. Everything that may go wrong ends in an answer."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import sqlalchemy as sa

from events.content import AiCall, Outcome, Tally, plus, tally_of
from events.dead_letters import replayed, set_aside
from events.envelope import BadMessage, Envelope, UnknownMessage
from events.message import Event
from events.pipeline import zero_counts
from events.reading import read
from events.run import (
    BatchFailed,
    BatchReturned,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
)
from events.topics import Publish, Record, report_record
from services.clock import Clock
from services.stage_workers.ai.model import ItemFailed, ProviderHalted
from services.stage_workers.batch import Stage, Work
from services.stage_workers.items import Batch
from services.stage_workers.reading import Reader

logger = logging.getLogger(__name__)

REMEMBERED = 2_000  # requests whose reports are kept, to be said again and not done again
NUMBERS = {StageBatchCompleted: 0, StageCompleted: 1, BatchFailed: 2, BatchReturned: 3}


class Worker:
    """Answers the requests of one stage."""

    def __init__(
        self,
        stage: Stage,
        reader: Reader,
        publish: Publish,
        now: Clock,
        seconds: float | None = None,
    ) -> None:
        """`seconds` is how long a batch may take: less than after what it is asked for again."""
        self._stage, self._reader, self._publish, self._now = stage, reader, publish, now
        self._seconds = seconds
        self._reports: OrderedDict[str, Sequence[Event]] = OrderedDict()

    async def answer(self, record: Record) -> None:
        """Return when the broker has the answer.

        Raises what publishing raises, and OperationalError while the read model is away: that is no
        fault of the message, which comes again to the next process.
        """
        try:
            request, position = _request_in(record, self._stage.number)
        except (UnknownMessage, BadMessage) as error:
            await self._set_aside(record, error)
            return
        calls: list[AiCall] = []
        again = replayed(record, self._name, self._now())
        if again and self._has_failed_in(request.id):
            del self._reports[request.id]  # an operator believes that the cause is mended
        try:
            reports = await self._reports_of(request, position, calls)
        except sa.exc.OperationalError:
            raise
        except Exception as error:  # a bug of ours: tell the rules instead of Faust
            logger.exception("batch failed", extra={"run_id": request.run_id})
            await self._set_aside(record, error)
            reports, again = [failed(request, error, calls)], []
            self._remember(request.id, reports)  # the provider's calls are not made twice
        for report in reports:
            envelope = request.reply(report, NUMBERS[type(report)], self._now())
            # What follows from a report is nobody's wish: who began the run did not end it.
            said = envelope.model_copy(update={"actor": "system"})
            await self._publish(report_record(said))
        for one in again:
            await self._publish(one)

    async def _reports_of(
        self, request: Envelope, position: int, calls: list[AiCall]
    ) -> Sequence[Event]:
        if request.id in self._reports:
            return self._reports[request.id]
        match await self._reader.wanted(request, position):
            case "answered":
                return []
            case "stage_open":
                return [stage_completed(_asked(request), Tally())]  # the rules have the sums
            case "not_running":
                return [returned(request, "the run was not running")]
            case "not_there":
                return [returned(request, "the read model had not caught up")]
            case "yes":
                batch = batch_of(request, self._seconds)
                reports = completed(request, await self._process(batch, calls), calls)
                self._remember(request.id, reports)
                return reports

    async def _process(self, batch: Batch, calls: list[AiCall]) -> Work:
        """Return what the batch came to; what a provider did not answer fails its items alone.

        A stage answers for its provider itself. Should one forget to, it is no bug of ours either.
        """
        try:
            return await self._stage.process(batch, calls)
        except ProviderHalted as stop:
            return Work((), (), batch.items, stop.halt)
        except ItemFailed as error:
            return Work(tuple(Outcome(item=item, error=str(error)) for item in batch.items), ())

    def _has_failed_in(self, request_id: str) -> bool:
        return any(isinstance(one, BatchFailed) for one in self._reports.get(request_id, ()))

    def _remember(self, request_id: str, reports: Sequence[Event]) -> None:
        self._reports[request_id] = reports
        while len(self._reports) > REMEMBERED:
            self._reports.popitem(last=False)

    @property
    def _name(self) -> str:
        return f"stage-worker-{self._stage.number}"

    async def _set_aside(self, record: Record, error: Exception) -> None:
        logger.warning("message set aside", extra={"topic": record.topic, "error": repr(error)})
        for one in set_aside(record, error, self._name, self._now()):
            await self._publish(one)


def _request_in(record: Record, stage: int) -> tuple[Envelope, int]:
    envelope = read(record)
    if not isinstance(envelope.message, StageBatchRequested) or envelope.message.stage != stage:
        raise BadMessage(f"{envelope.message.TYPE} does not belong on {record.topic}")
    position = record.header("ce_position") or ""
    if not (position.isascii() and position.isdigit()):
        raise BadMessage("a request has no ce_position")
    if envelope.run_id is None or envelope.site_id is None:
        raise BadMessage("a request names its run and its site")
    return envelope, int(position)


def _asked(request: Envelope) -> StageBatchRequested:
    assert isinstance(request.message, StageBatchRequested)
    return request.message


def batch_of(request: Envelope, seconds: float | None = None) -> Batch:
    """Return what the stage is to work on."""
    asked = _asked(request)
    return Batch(
        account_id=request.account_id,
        site_id=request.site_id or "",
        run_id=request.run_id or "",
        batch_id=asked.batch_id,
        stage=asked.stage,
        items=asked.items,
        prices=asked.prices,
        site_name=asked.site_name,
        models=asked.models,
        brief=asked.brief,
        seconds=seconds,
    )


def completed(request: Envelope, work: Work, calls: list[AiCall]) -> list[Event]:
    """Return the batch's report, and after the last batch, with nothing deferred, the stage's."""
    asked = _asked(request)
    tally = tally_of(asked.stage, work.outcomes, work.made, tuple(calls))
    report = StageBatchCompleted(
        stage=asked.stage,
        batch_id=asked.batch_id,
        attempt=asked.attempt,
        outcomes=work.outcomes,
        made=work.made,
        calls=tuple(calls),
        tally=tally,
        deferred=work.deferred,
        halt=work.halt,
    )
    is_end = asked.last and not work.deferred
    return [report, stage_completed(asked, tally)] if is_end else [report]


def stage_completed(asked: StageBatchRequested, tally: Tally) -> StageCompleted:
    """Return the stage's report: what the request says was done before, and this batch."""
    total = plus(asked.so_far, tally)
    return StageCompleted(
        stage=asked.stage,
        result={**zero_counts(asked.stage), **total.counts},
        items_done=total.items_done,
        items_failed=total.items_failed,
        credits_used=total.credits_used,
        partial=total.items_failed > 0,
        batch_id=asked.batch_id,
    )


def failed(request: Envelope, error: Exception, calls: list[AiCall]) -> BatchFailed:
    """Return the report of a batch that hit a bug of ours."""
    asked = _asked(request)
    return BatchFailed(
        stage=asked.stage,
        batch_id=asked.batch_id,
        attempt=asked.attempt,
        error=f"{type(error).__name__}: {error}"[:500],
        calls=tuple(calls),
    )


def returned(request: Envelope, reason: str) -> BatchReturned:
    """Return the report of a batch that was not begun."""
    asked = _asked(request)
    return BatchReturned(
        stage=asked.stage, batch_id=asked.batch_id, attempt=asked.attempt, reason=reason
    )
