"""Answers at once and for nothing, so that a benchmark measures the service and not the content."""

from typing import Any, ClassVar, cast

from services.stage_workers.ai.model import (
    A,
    AnswerRejected,
    Article,
    Call,
    ClusterKeywords,
    DescribeImages,
    DrawImage,
    Group,
    ImageIdea,
    Picture,
    Question,
    SuggestIdeas,
    Suggestion,
    WriteArticle,
)

GROUP = 5  # keywords
BODY = "This text is for benchmarks and for no reader ever."
PIXEL = bytes.fromhex(
    "524946461e000000574542505650384c110000002f000000000750945294a7ff8188e87f0000"
)  # a lossless WebP of one pixel


class InstantProvider:
    """For benchmarks only: the smallest valid answers, made without work."""

    model: ClassVar[str] = "instant"

    async def answer(self, question: Question[A], calls: list[Call]) -> A:
        """Return a fixed kind of answer. Raises AnswerRejected for an unknown question."""
        answer = reply(question)
        calls.append(Call(self.model))
        return cast("A", answer)


def reply(question: Question[Any]) -> object:
    """Return the smallest valid answer. Raises AnswerRejected for an unknown question."""
    match question:
        case ClusterKeywords():
            return groups(question)
        case SuggestIdeas():
            texts = tuple(keyword.text for keyword in question.keywords)
            title = f"About {question.cluster}"
            return (Suggestion(title, question.intent, ("Overview",), texts),)
        case WriteArticle():
            body = f"{BODY}\n\n{question.note}" if question.note else BODY
            return Article(body, question.title[:60], question.title[:155])
        case DescribeImages():
            return (ImageIdea("featured", "", question.title, question.title[:125]),)
        case DrawImage():
            return Picture(PIXEL, "image/webp", 1, 1)
        case _:
            raise AnswerRejected(f"the instant provider cannot answer {question.function}")


def groups(question: ClusterKeywords) -> tuple[Group, ...]:
    """Return one group for every five keywords, in the order of their ids."""
    keywords = sorted(question.keywords, key=lambda keyword: keyword.id)
    lots = [keywords[at : at + GROUP] for at in range(0, len(keywords), GROUP)]
    return tuple(
        Group(lot[0].text, "informational", tuple(keyword.id for keyword in lot)) for lot in lots
    )
