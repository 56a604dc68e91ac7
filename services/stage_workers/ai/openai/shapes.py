"""The shapes that models answer in: small, as small models lose their way in large ones."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from events.content import Intent

Line = Annotated[str, StringConstraints(strip_whitespace=True)]
META_TITLE = 60  # characters, what search results show
META_DESCRIPTION = 155


class NamedGroup(BaseModel):
    """A group by its number."""

    group: int
    name: Line


class NamedGroups(BaseModel):
    """The groups that were named."""

    groups: list[NamedGroup]


class KnownGroup(NamedGroup):
    """A group with what its searchers want."""

    intent: Intent


class KnownGroups(BaseModel):
    """The groups that were named, with their intents."""

    groups: list[KnownGroup]


class IdeaShape(BaseModel):
    """An article worth writing."""

    title: Line
    headings: Annotated[list[Line], Field(max_length=8)]
    keywords: Annotated[list[Line], Field(max_length=40)]


class IdeasShape(BaseModel):
    """Articles for one topic."""

    ideas: Annotated[list[IdeaShape], Field(min_length=1, max_length=3)]


class PlanShape(BaseModel):
    """What each section tells, in order, and what readers still ask."""

    sections: Annotated[list[Line], Field(max_length=12)]
    questions: Annotated[list[Line], Field(max_length=5)]
    questions_heading: Line


class MetasShape(BaseModel):
    """What search results show; longer ones are cut there in the middle of a word."""

    meta_title: Annotated[Line, Field(min_length=1, max_length=META_TITLE)]
    meta_description: Annotated[Line, Field(min_length=1, max_length=META_DESCRIPTION)]


class FeaturedShape(BaseModel):
    """A picture for a whole article."""

    text: Line
    alt: Line


class InArticleShape(FeaturedShape):
    """A picture for one section, by its heading."""

    section: Line


class PicturesShape(BaseModel):
    """The pictures of one article."""

    featured: FeaturedShape
    others: Annotated[list[InArticleShape], Field(max_length=2)]
