"""A Markdown body as the measures see it: sections of plain text, its links and images."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline import link as link_rule
from markdown_it.token import Token

BlockKind = Literal["prose", "item", "cell", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table cell or code block; `said` leaves out what is set as code."""

    kind: BlockKind
    text: str
    said: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what follows up to the next one; the introduction has level 0 and no text."""

    level: int
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A body; links and images are their destinations as written."""

    sections: tuple[Section, ...]
    links: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def headings(self) -> tuple[Section, ...]:
        """The sections that have a heading."""
        return tuple(section for section in self.sections if section.level)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in order."""
        return tuple(block for section in self.sections for block in section.blocks)

    @property
    def text(self) -> tuple[Block, ...]:
        """All blocks that are no code."""
        return tuple(block for block in self.blocks if block.kind != "code")

    @property
    def passages(self) -> tuple[str, ...]:
        """Headings and text in their order, without code blocks."""
        made: list[str] = []
        for section in self.sections:
            made += [section.heading] if section.heading else []
            made += [block.text for block in section.blocks if block.kind != "code"]
        return tuple(made)


def _link(state: StateInline, silent: bool) -> bool:  # noqa: FBT001  # as markdown-it calls rules
    """Parse a link as ever, and keep how it was written: tokens do not tell."""
    start, before = state.pos, len(state.tokens)
    if not link_rule(state, silent):
        return False
    if not silent:
        opened = next(one for one in state.tokens[before:] if one.type == "link_open")
        end = state.md.helpers.parseLinkLabel(state, start)
        source = state.src[start : state.pos]
        opened.meta |= {
            "source": source,
            "before": state.src.count(source, 0, start),  # as code, it may stand there too
            "label": state.src[start + 1 : end],
        }
    return True


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.inline.ruler.at("link", _link)
    return parser


def parse(body: str) -> Document:
    """Return what a body consists of. HTML in it is text."""
    sections: list[Section] = [Section(0, "", ())]
    links: list[str] = []
    images: list[str] = []
    opened: list[str] = []
    blocks: list[Block] = []
    level = 0
    for token in _parser().parse(body):
        match token.type:
            case "heading_open":
                level = int(token.tag[1])
            case "heading_close":
                level = 0
            case "list_item_open" | "td_open" | "th_open":
                opened.append(token.type)
            case "list_item_close" | "td_close" | "th_close":
                opened.pop()
            case "fence" | "code_block":
                blocks.append(Block("code", token.content, ""))
            case "inline":
                children = token.children or []
                links += [_target(one, "href") for one in children if one.type == "link_open"]
                images += [_target(one, "src") for one in children if one.type == "image"]
                text, said = _plain(children), _plain(children, code=False)
                if level:
                    sections[-1] = _filled(sections[-1], blocks)
                    sections.append(Section(level, text, ()))
                    blocks = []
                elif text:
                    blocks.append(Block(_kind(opened), text, said))
            case _:
                continue
    sections[-1] = _filled(sections[-1], blocks)
    return Document(tuple(sections), tuple(links), tuple(images))


def _filled(section: Section, blocks: list[Block]) -> Section:
    return Section(section.level, section.heading, tuple(blocks))


def _target(token: Token, name: str) -> str:
    return str(token.attrs.get(name, ""))


def _kind(opened: list[str]) -> BlockKind:
    match opened:
        case [*_, "list_item_open"]:
            return "item"
        case [*_, _]:
            return "cell"
        case _:
            return "prose"


def _plain(tokens: list[Token], *, code: bool = True) -> str:
    """Return what a reader sees of inline tokens; an image is none of it."""
    parts = []
    for token in tokens:
        match token.type:
            case "text" | "text_special":
                parts.append(token.content)
            case "code_inline":
                parts.append(token.content if code else " ")
            case "softbreak" | "hardbreak":
                parts.append(" ")
            case _:
                continue
    return " ".join("".join(parts).split())


def is_on_site(target: str) -> bool:
    """Tell whether a link's destination is a page of the site itself: a path, and no anchor."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    is_anchor = not parts.path and not parts.query and bool(parts.fragment)
    return not parts.scheme and not parts.netloc and not is_anchor


def page_of(target: str) -> str:
    """Return the path of a destination, without query, anchor and closing slash."""
    return urlsplit(target).path.rstrip("/") or "/"


def without_unknown_links(body: str, paths: tuple[str, ...]) -> str:
    """Return the body with links to other pages of the site than these as plain text.

    Where a link goes over lines of a quote it stays, for the gates to find.
    """
    known = {page_of(path) for path in paths}
    lines = body.split("\n")
    for token in _parser().parse(body):
        if token.type != "inline" or token.map is None:
            continue
        for one in reversed(token.children or []):  # so that what stands before stays countable
            if one.type != "link_open" or "source" not in one.meta:
                continue
            target = _target(one, "href")
            if not is_on_site(target) or (target and page_of(target) in known):
                continue
            first, end = token.map
            text = "\n".join(lines[first:end])
            lines[first:end] = _unlinked(text, **one.meta).split("\n")
    return "\n".join(lines)


def _unlinked(text: str, source: str, label: str, before: int) -> str:
    """Return the text with the label in the place of the source that has so many before it."""
    parts = text.split(source)
    if len(parts) < before + 2:
        return text
    return source.join(parts[: before + 1]) + label + source.join(parts[before + 1 :])
