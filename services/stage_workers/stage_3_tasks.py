"""Stage 3: content ideas to writing tasks, without AI."""

from dataclasses import dataclass

from events.content import AiCall, Task
from events.ids import derive
from services.stage_workers.batch import Work, each
from services.stage_workers.items import Batch, IdeaItem, ReadItems


@dataclass(frozen=True)
class MakeTasks:
    """Orders one article for each idea. Nothing is asked, so nothing can fail."""

    read: ReadItems[IdeaItem]

    number = 3

    async def process(self, batch: Batch, calls: list[AiCall]) -> Work:  # noqa: ARG002
        """Return one task per idea."""

        async def task_of(idea: IdeaItem) -> tuple[Task, ...]:
            return (to_task(idea, batch.run_id),)

        return await each(
            [(idea.id, idea) for idea in await self.read(batch)], task_of, batch.seconds
        )


def to_task(idea: IdeaItem, run_id: str) -> Task:
    """Return the order for the idea's article."""
    task_id = derive("task", run_id, 3, idea.id, idea.title)
    return Task(id=task_id, idea_id=idea.id, title=idea.title)
