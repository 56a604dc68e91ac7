"""What stages make, as facts: ids, titles, outlines, hashes. Bytes are artifacts, named by hash."""

import unicodedata
from typing import Annotated, Literal

from pydantic import Field

from events.message import Value
from events.quality import Quality

Intent = Literal["informational", "commercial", "transactional", "navigational"]

MAX_KEYWORDS = 10_000  # handed in at once
MAX_KEYWORD = 200  # characters
MAX_INTENT = 50  # characters
MAX_VOLUME = 1_000_000_000
MAX_DIFFICULTY = 100


class NewKeyword(Value):
    """A keyword as it is handed in; volume is searches a month, difficulty 0 to 100."""

    keyword: str
    volume: int | None = None
    difficulty: int | None = None
    intent: str | None = None


def fault_of(keyword: NewKeyword) -> str | None:
    """Return why no site takes a keyword, as a row's rejection says it; none where it is good."""
    return (
        _fault_of_text("keyword", keyword.keyword, MAX_KEYWORD)
        or (_fault_of_text("intent", keyword.intent, MAX_INTENT) if keyword.intent else None)
        or _fault_of_number("volume", keyword.volume, MAX_VOLUME)
        or _fault_of_number("difficulty", keyword.difficulty, MAX_DIFFICULTY)
    )


def _fault_of_text(name: str, text: str, longest: int) -> str | None:
    text = text.strip()
    if not text:
        return f"{name} is empty"
    if len(text) > longest:
        return f"{name} has more than {longest} characters"
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in text):
        return f"{name} has control characters"
    return None


def _fault_of_number(name: str, number: int | None, highest: int) -> str | None:
    if number is None or 0 <= number <= highest:
        return None
    return f"{name} is not a whole number from 0 to {highest}"


class Keyword(NewKeyword):
    """A keyword of a site, unique there by its folded text."""

    id: str


class Cluster(Value):
    """A topic; its members are the keywords whose outcome names it. `first` counts it once."""

    kind: Literal["cluster"] = "cluster"
    id: str
    name: str
    intent: Intent
    first: str


class Idea(Value):
    """A piece of content worth writing, for one cluster."""

    kind: Literal["idea"] = "idea"
    id: str
    cluster_id: str
    title: str
    intent: Intent
    outline: tuple[str, ...]
    target_keywords: tuple[str, ...]


class Task(Value):
    """An order to write one article."""

    kind: Literal["task"] = "task"
    id: str
    idea_id: str
    title: str


class Draft(Value):
    """An article's facts; the Markdown body is the artifact `body`, a SHA-256 in hex.

    `quality` is none where nothing was measured. `shingles` are short digests in hex of runs of
    words, a sample by which articles that are much the same are found.
    """

    kind: Literal["draft"] = "draft"
    id: str
    task_id: str
    title: str
    slug: str
    body: str
    meta_title: str
    meta_description: str
    word_count: int
    keywords: tuple[str, ...]
    quality: Quality | None = None
    shingles: tuple[str, ...] = ()


class Prompt(Value):
    """One image to be made for a draft; `section` is the heading that it stands under."""

    kind: Literal["prompt"] = "prompt"
    id: str
    content_id: str
    role: Literal["featured", "in_article"]
    section: str
    text: str
    alt: str


class Image(Value):
    """A rendered image; the file is the artifact `file`, a SHA-256 in hex."""

    kind: Literal["image"] = "image"
    id: str
    prompt_id: str
    content_id: str
    file: str
    media_type: str
    width: int
    height: int
    size: int
    alt: str


Fact = Annotated[Cluster | Idea | Task | Draft | Prompt | Image, Field(discriminator="kind")]


class Outcome(Value):
    """What became of one item: the ids of what it made, or the error that it failed with."""

    item: str
    made: tuple[str, ...] = ()
    error: str | None = None


Count = Annotated[int, Field(ge=0)]


class AiCall(Value):
    """One provider call, failed ones included; tokens are the provider's count or an estimate.

    `prompt` is the prompt's name and version, `prompt_hash` the SHA-256 in hex of all that was
    sent. Of a call that was cut off nobody knows the cost: the provider may charge for it.
    """

    function: str
    model: str
    status: Literal["succeeded", "failed"]
    credits_used: Count
    tokens_in: Count = 0
    tokens_out: Count = 0
    milliseconds: Count = 0
    error: str | None = None
    images: Count = 0
    prompt: str = ""
    prompt_hash: str = ""
    cost_known: bool = True


class Halt(Value):
    """Why a provider answers nobody at the moment, so that no item is to blame.

    With `wait_seconds` it is worth trying again after that; without, a person has to act first:
    `misconfigured` is an address or a model that is not there.
    """

    kind: Literal["rate_limited", "unavailable", "out_of_credits", "key_refused", "misconfigured"]
    detail: str
    wait_seconds: int = 0


class Tally(Value):
    """Sums over batches of one stage: items, whole credits, and the stage's counts by name."""

    items_done: int = 0
    items_failed: int = 0
    credits_used: int = 0
    counts: dict[str, int] = Field(default_factory=dict)


def plus(one: Tally, other: Tally) -> Tally:
    """Return the sum of two tallies."""
    counts = dict(one.counts)
    for name, count in other.counts.items():
        counts[name] = counts.get(name, 0) + count
    return Tally(
        items_done=one.items_done + other.items_done,
        items_failed=one.items_failed + other.items_failed,
        credits_used=one.credits_used + other.credits_used,
        counts=counts,
    )


def tally_of(
    stage: int,
    outcomes: tuple[Outcome, ...],
    made: tuple[Fact, ...],
    calls: tuple[AiCall, ...],
) -> Tally:
    """Return the sums of one batch, with the counts that the stage's result is made of.

    A cluster is counted in the batch of its first keyword, as several batches may report it.
    """
    done = {outcome.item for outcome in outcomes if outcome.error is None}
    failed = len(outcomes) - len(done)
    match stage:
        case 1:
            new = sum(isinstance(fact, Cluster) and fact.first in done for fact in made)
            counts = {"keywords_processed": len(done), "clusters_created": new}
        case 2:
            counts = {"clusters_processed": len(done), "ideas_created": len(made)}
        case 3:
            counts = {"ideas_processed": len(done), "tasks_created": len(made)}
        case 4:
            words = sum(fact.word_count for fact in made if isinstance(fact, Draft))
            counts = {
                "tasks_processed": len(done),
                "content_created": len(made),
                "total_words": words,
            }
        case 5:
            counts = {"content_processed": len(done), "prompts_created": len(made)}
        case 6:
            counts = {
                "images_processed": len(outcomes),
                "images_generated": len(made),
                "images_failed": failed,
            }
        case _:
            counts = {"ready_for_review": len(done)}
    return Tally(
        items_done=len(done),
        items_failed=failed,
        credits_used=sum(call.credits_used for call in calls),
        counts=counts,
    )
