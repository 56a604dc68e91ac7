"""What is judged, and what stands beside it on the site."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """A draft as it would be kept: `body` is Markdown without the title.

    Of the `keywords` the first is the main one. `links` are the paths that it may link to.
    """

    title: str
    body: str
    meta_title: str
    meta_description: str
    keywords: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another article of the site; `keyword` is its main one, empty when it has none.

    `shared` counts the shingles of the judged draft that it has too.
    """

    id: str
    title: str
    keyword: str = ""
    path: str = ""
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The site's other articles, without those that were rejected."""

    articles: tuple[Neighbour, ...] = ()


NOBODY = Neighbours()
