"""What a stage may ask of a provider, and what it gets back: typed answers and usage."""

from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from events.content import Intent

A = TypeVar("A")


class ModelUnavailable(Exception):
    """The provider cannot answer, and trying again has been tried."""


class AnswerRejected(Exception):
    """The answer has the wrong shape or breaks a rule, also when asked again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, in tokens as the provider counts them."""

    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Answered(Generic[A]):
    """A provider's typed answer with what it used."""

    value: A
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Question(Generic[A]):
    """The base of what can be asked; `function` names it in the price table and the AI task log."""

    function: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Keyword:
    id: str
    text: str
    intent: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Keywords that belong together: a name, the intent that most of them have, their ids."""

    name: str
    intent: Intent
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterKeywords(Question[tuple[Group, ...]]):
    """Group all keywords of a stage by meaning; every keyword comes back in exactly one group."""

    function: ClassVar[str] = "cluster_keywords"
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    title: str
    intent: Intent
    outline: tuple[str, ...]
    target_keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SuggestIdeas(Question[tuple[Suggestion, ...]]):
    """Suggest content for one cluster; titles must differ from each other and from `taken`."""

    function: ClassVar[str] = "generate_ideas"
    cluster: str
    intent: Intent
    keywords: tuple[Keyword, ...]
    volumes: tuple[int | None, ...] = ()
    taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Article:
    """A draft: `body` is Markdown without the title; metas are within 60 and 155 characters."""

    body: str
    meta_title: str
    meta_description: str


@dataclass(frozen=True, slots=True)
class WriteArticle(Question[Article]):
    function: ClassVar[str] = "write_article"
    title: str
    intent: Intent
    outline: tuple[str, ...]
    target_keywords: tuple[str, ...]
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageIdea:
    role: str
    section: str
    text: str
    alt: str


@dataclass(frozen=True, slots=True)
class DescribeImages(Question[tuple[ImageIdea, ...]]):
    """Describe one featured image and some in-article ones, from what the draft says."""

    function: ClassVar[str] = "write_image_prompts"
    title: str
    intent: Intent
    body: str
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    content: bytes
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DrawImage(Question[Picture]):
    """Render one image; `title`, `section` and `site_name` are for providers that draw text."""

    function: ClassVar[str] = "generate_image"
    title: str
    section: str
    prompt: str
    site_name: str


class Provider(Protocol):
    """Answers every kind of question. Raises ModelUnavailable or AnswerRejected."""

    @property
    def model(self) -> str:
        """The model's name in the AI task log."""
        ...

    async def answer(self, question: Question[A]) -> Answered[A]: ...
