"""Ideas: the model is told the titles that are nearest to the topic, so that it repeats none."""

from collections.abc import Callable, Sequence

from services.stage_workers.ai.local.embeddings import Vectors
from services.stage_workers.ai.model import SuggestIdeas, Suggestion
from services.stage_workers.ai.openai.asking import Asker
from services.stage_workers.ai.openai.briefs import listed, told
from services.stage_workers.ai.openai.shapes import IdeasShape
from services.stage_workers.ai.prompts.reading import prompt
from services.stage_workers.threads import in_thread

NEAREST = 25  # taken titles that are sent
KEYWORDS = 40
LARGE = 8  # keywords; a cluster of as many gets up to three ideas
SMALL = 3
TOKENS = 450  # of one idea
TITLE = 120  # characters


async def suggest(
    question: SuggestIdeas, asker: Asker, embed: Callable[[Sequence[str]], Vectors]
) -> tuple[Suggestion, ...]:
    """Return one to three suggestions, none for an empty cluster. Raises as Provider.answer."""
    if not question.keywords:
        return ()
    taken = await in_thread(nearest, question, embed)
    most = most_ideas(len(question.keywords))
    count = "one article" if most == 1 else f"one to {most} articles, fewer rather than alike ones"
    asked = prompt("suggest_ideas").filled(
        brief=told(question.brief),
        topic=question.cluster,
        intent=question.intent,
        keywords=listed(in_order(question), KEYWORDS),
        taken=listed(taken, NEAREST),
        count=count,
    )
    answer = await asker.typed(asked, IdeasShape, 200 + TOKENS * most)
    return tuple(
        Suggestion(
            title=title_of(idea.title),
            intent=question.intent,
            outline=tuple(heading for heading in idea.headings if heading),
            target_keywords=tuple(idea.keywords),
        )
        for idea in answer.ideas[:most]
    )


def most_ideas(keywords: int) -> int:
    """Return how many articles so many keywords can fill without repeating each other."""
    return 3 if keywords >= LARGE else 2 if keywords > SMALL else 1


def in_order(question: SuggestIdeas) -> list[str]:
    """Return the keywords, those that are searched most first."""
    volumes = (*question.volumes, *([None] * len(question.keywords)))
    pairs = zip(question.keywords, volumes, strict=False)
    return [keyword.text for keyword, volume in sorted(pairs, key=lambda pair: -(pair[1] or 0))]


def nearest(
    question: SuggestIdeas, embed: Callable[[Sequence[str]], Vectors], most: int = NEAREST
) -> list[str]:
    """Return the taken titles that are most like the topic, the most alike first."""
    taken = list(dict.fromkeys(question.taken))
    if len(taken) <= most:
        return taken
    topic = "; ".join([question.cluster, *(keyword.text for keyword in question.keywords[:5])])
    vectors = embed([topic, *taken])
    alike = vectors[1:] @ vectors[0]
    order = sorted(range(len(taken)), key=lambda at: -float(alike[at]))
    return [taken[at] for at in order[:most]]


def title_of(text: str) -> str:
    """Return the title without a label, marks or a full stop around it."""
    title = " ".join(text.split()).strip("\"'*#“”„ ")
    title = title.removeprefix("Title:").strip()
    return title[:TITLE].rstrip(" .,;:-") if not title.endswith("?") else title
