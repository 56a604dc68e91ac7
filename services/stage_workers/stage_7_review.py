"""Stage 7: drafts to the people who review them, without AI. Here the run hands over."""

from dataclasses import dataclass

from events.content import AiCall, Outcome
from services.stage_workers.batch import Work
from services.stage_workers.items import Batch


@dataclass(frozen=True)
class HandOver:
    """Reports every draft as ready: its outcome is what the Writer's review starts from."""

    number = 7

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:  # noqa: ARG002
        """Return a good outcome per draft, and no facts: a draft stays what stage 4 made."""
        return Work(tuple(Outcome(item=item) for item in batch.items), ())
