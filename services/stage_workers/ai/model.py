"""What a stage may ask of a provider, and what it gets back: typed answers, and calls made."""

from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from events.brief import PLAIN, Brief
from events.content import Halt, Intent
from events.prices import Models

A = TypeVar("A")


class ItemFailed(Exception):
    """The provider has no answer for this item; the sentence says why. Others are not affected."""


class ModelUnavailable(ItemFailed):
    """The provider cannot answer, and trying again has been tried."""


class AnswerRejected(ItemFailed):
    """The answer has the wrong shape or breaks a rule, also when asked again."""


class RequestDeclined(ItemFailed):
    """The provider does not answer this by its policy; asking again would not help."""


class ProviderHalted(Exception):
    """The provider answers nobody at the moment: no item is to blame, and none fails."""

    def __init__(self, halt: Halt) -> None:
        super().__init__(halt.detail)
        self.halt = halt


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a model as it was made, failed ones included: tokens as the provider counts.

    `prompt` is the prompt's name and version, `prompt_hash` the SHA-256 in hex of all that was
    sent. A call that was cut off has a cost that nobody knows.
    """

    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    images: int = 0
    milliseconds: int = 0
    error: str | None = None
    prompt: str = ""
    prompt_hash: str = ""
    cost_known: bool = True


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
    """Group all keywords of a stage by meaning; every keyword comes back in exactly one group.

    Only the groups that hold one of `own`, the batch's keywords, need names that people see.
    """

    function: ClassVar[str] = "cluster_keywords"
    keywords: tuple[Keyword, ...]
    own: tuple[str, ...] = ()
    brief: Brief = PLAIN


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
    brief: Brief = PLAIN


@dataclass(frozen=True, slots=True)
class Article:
    """A draft: `body` is Markdown without the title; metas are within 60 and 155 characters."""

    body: str
    meta_title: str
    meta_description: str


@dataclass(frozen=True, slots=True)
class Link:
    """Another article of the site, and its path there."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class WriteArticle(Question[Article]):
    """Asks for an article; with `note`, for the `previous` one's text changed as a reviewer asks.

    `task` is the writing task's id, under which an article that was put off goes on. `previous` is
    Markdown, and empty when that text has been erased. `related` are the articles
    that it may link to, and no others.
    """

    function: ClassVar[str] = "write_article"
    title: str
    intent: Intent
    outline: tuple[str, ...]
    target_keywords: tuple[str, ...]
    related: tuple[Link, ...] = ()
    previous: str = ""
    note: str = ""
    brief: Brief = PLAIN
    task: str = ""


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
    brief: Brief = PLAIN


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
    """Answers every kind of question, in as many calls as it takes."""

    async def answer(self, question: Question[A], calls: list[Call]) -> A:
        """Return the answer, and enter each call as soon as it has ended, also a failed one.

        Raises ItemFailed or ProviderHalted.
        """
        ...


class ProviderOf(Protocol):
    """Chooses the provider for an account and the models of its run. Raises ProviderHalted."""

    async def __call__(self, account_id: str, models: Models) -> Provider: ...
