"""The seven stages, in order: the one table that rules, workers, projections and screens share."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the seven. `counts` are the keys of its result, the items that it took first."""

    number: int
    name: str
    takes: str
    makes: str
    how: Literal["ai", "local"]
    counts: tuple[str, ...]


STAGES: tuple[Stage, ...] = (
    Stage(
        1,
        "clusters",
        "keyword",
        "cluster",
        "ai",
        ("keywords_processed", "clusters_created"),
    ),
    Stage(2, "ideas", "cluster", "idea", "ai", ("clusters_processed", "ideas_created")),
    Stage(3, "tasks", "idea", "task", "local", ("ideas_processed", "tasks_created")),
    Stage(
        4,
        "content",
        "task",
        "draft",
        "ai",
        ("tasks_processed", "content_created", "total_words"),
    ),
    Stage(5, "prompts", "draft", "prompt", "ai", ("content_processed", "prompts_created")),
    Stage(
        6,
        "images",
        "prompt",
        "image",
        "ai",
        ("images_processed", "images_generated", "images_failed"),
    ),
    Stage(7, "review", "draft", "draft", "local", ("ready_for_review",)),
)
FIRST, LAST = STAGES[0].number, STAGES[-1].number
CLUSTERS, CONTENT, PROMPTS, IMAGES = 1, 4, 5, 6


def stage_of(number: int) -> Stage:
    """Return the stage of that number, 1 to 7. Raises IndexError for any other."""
    if not FIRST <= number <= LAST:
        raise IndexError(number)
    return STAGES[number - 1]


def zero_counts(number: int) -> dict[str, int]:
    """Return the result of a stage that had nothing to do."""
    return dict.fromkeys(stage_of(number).counts, 0)
