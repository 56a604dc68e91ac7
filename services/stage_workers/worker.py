"""One stage's worker: a request in, reports out. Everything that may go wrong ends in an answer."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

from events.content import AiCall, Tally, plus, tally_of
from events.dead_letters import dead_letter
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
from services.stage_workers.batch import Stage, Work
from services.stage_workers.items import Batch
from services.stage_workers.reading import Reader

logger = logging.getLogger(__name__)

REMEMBERED = 2_000  # requests whose reports are kept, to be said again and not done again
NUMBERS = {StageBatchCompleted: 0, StageCompleted: 1, BatchFailed: 2, BatchReturned: 3}


class Worker:
    """Answers the requests of one stage."""

    def __init__(self, stage: Stage, reader: Reader, publish: Publish, now: Clock) -> None:
        self._stage, self._reader, self._publish, self._now = (
            stage,
            reader,
            publish,
            now,
        )
        self._reports: OrderedDict[str, Sequence[Event]] = OrderedDict()

    async def answer(self, record: Record) -> None:
        """Return when the broker has the answer. Raises only what publishing raises."""
        try:
            request, position = _request_in(record, self._stage.number)
        except (UnknownMessage, BadMessage) as error:
            await self._set_aside(record, str(error))
            return
        calls: list[AiCall] = []
        try:
            reports = await self._reports_of(request, position, calls)
        except Exception as error:  # a bug of ours: tell the rules instead of Faust
            logger.exception("batch failed", extra={"run_id": request.run_id})
            await self._set_aside(record, repr(error))
            reports = [failed(request, error, calls)]
        for report in reports:
            envelope = request.reply(report, NUMBERS[type(report)], self._now())
            await self._publish(report_record(envelope))

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
                batch = batch_of(request)
                reports = completed(request, await self._stage.process(batch, calls), calls)
                self._remember(request.id, reports)
                return reports

    def _remember(self, request_id: str, reports: Sequence[Event]) -> None:
        self._reports[request_id] = reports
        while len(self._reports) > REMEMBERED:
            self._reports.popitem(last=False)

    async def _set_aside(self, record: Record, error: str) -> None:
        logger.warning("message set aside", extra={"topic": record.topic, "error": error})
        await self._publish(dead_letter(record, error, f"stage-worker-{self._stage.number}"))


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


def batch_of(request: Envelope) -> Batch:
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
    )


def completed(request: Envelope, work: Work, calls: list[AiCall]) -> list[Event]:
    """Return the batch's report, and after the last batch also the stage's."""
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
    )
    return [report, stage_completed(asked, tally)] if asked.last else [report]


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
