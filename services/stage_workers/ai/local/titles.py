"""Turns a keyword into a title, a heading or a question, by the form that searchers gave it."""

import hashlib
import re
from collections.abc import Sequence

from services.stage_workers.ai.local.casing import spelled, tidy, title_case, word_set
from services.stage_workers.ai.local.forms import (
    DETERMINERS,
    FORMS,
    GERUNDS,
    OWNED,
    Form,
)
from services.stage_workers.ai.local.names import content_words, plain

# by form; {x} is what the form's shape found, {text} the whole keyword
QUESTIONS = {
    "versus": "Which differences matter most: {lead}?",
    "how to": "How do I {rest}?",
    "near me": "How do I find the right {x} near me?",
    "template": "What should I include in my {text}?",
    "calculator": "Which numbers do I need for the {text}?",
    "best": "How do I choose the best {x}?",
    "review": "Is the {product} right for me?",
    "alternatives": "How do I compare {text}?",
    "explained": "How do I explain {x} in plain words?",
    "pros and cons": "What are the {text}?",
    "buy online": "What should I check before I buy {y} online?",
    "order": "What should I check before I {text}?",
    "imperative": "How do I {text}?",
    "deal": "What should I know about {text} before I commit?",
    "trouble": "What can I do about {text}?",
    "purchase": "What should I look for when comparing {options}?",
    "examples": "How do I make good use of {text}?",
    "choice": "How do I decide: {text}?",
    "difference": "What is the difference between {x}?",
}
ANY_QUESTIONS = (
    "What should I know about {text}?",
    "What matters most about {text}?",
    "Where do I start with {text}?",
    "What do I need to find out about {text}?",
)

DANGLING = word_set("a an and are at by can do for from how if in is of on or the to vs. with")

# what searchers leave out or put last
REWRITES = (
    (re.compile(r"^(.+) (?:why|how|what)$"), r"\1"),
    (
        re.compile(r"\b(templates?) (word|excel|powerpoint|google docs|google sheets)$"),
        r"\1 for \2",
    ),
    (re.compile(r"\b(templates?) download$"), r"\1 to download"),
)


def form_of(keyword: str) -> Form:
    """Return the first form whose shape the keyword has; each keyword has the last one."""
    text = _ready(keyword)
    return next(form for form in FORMS if form.shape.match(text))


def titles_of(keyword: str) -> list[str]:
    """Return titles that the keyword could have, the best first, none twice.

    Which tail comes first depends on a digest of the keyword, so that a site's titles vary.
    """
    form, lead = form_of(keyword), lead_of(keyword)
    turn = _digest(keyword) % len(form.tails)
    tails = form.tails if form.tails[0] == "" else form.tails[turn:] + form.tails[:turn]
    more = ("What You Need to Know", "A Practical Guide", "Common Questions Answered")
    said = content_words(lead)
    fresh = [tail for tail in (*tails, *more) if not said & content_words(tail)]
    return list(dict.fromkeys(_joined(lead, tail) for tail in fresh))


def lead_of(keyword: str) -> str:
    """Return the title's first part, which is also how the keyword reads as a heading."""
    form, text = form_of(keyword), _ready(keyword)
    match = form.shape.match(text)
    parts = match.groupdict() if match else {}
    verb = parts.get("verb", "")
    if verb in OWNED and parts["y"].split()[0] not in DETERMINERS:
        parts["y"] = f"your {parts['y']}"
    gerund = GERUNDS.get(verb, "")
    if form.name == "worth it" and not parts["x"].endswith("s worth it"):
        return title_case(f"is {parts['x']}?")
    return title_case(form.lead.format(**parts, gerund=gerund))


def heading_of(keyword: str) -> str:
    """Return the keyword as a heading inside an article: like its title's lead, but plainer."""
    form = form_of(keyword)
    if form.name == "best":
        return title_case(f"the best {_ready(keyword).split(' ', 1)[1]}".replace("rated ", ""))
    return lead_of(keyword)


def is_question(keyword: str) -> bool:
    """Tell whether the keyword belongs among the frequent questions instead of the headings."""
    return lead_of(keyword).endswith("?")


def question_of(keyword: str) -> str:
    """Return a question as a reader would ask it, which an article for the keyword answers."""
    if is_question(keyword):
        return _sentence(lead_of(keyword))
    form, text = form_of(keyword), _ready(keyword)
    match = form.shape.match(text)
    parts = {name: spelled(part) for name, part in match.groupdict().items()} if match else {}
    usual = ANY_QUESTIONS[_digest(keyword) % len(ANY_QUESTIONS)]
    asked = QUESTIONS.get(form.name, usual).format(
        **{"x": "", "y": "", **parts},
        text=spelled(text),
        lead=lead_of(keyword),
        rest=spelled(text.removeprefix("how to ")),
        product=spelled(re.sub(r" reviews?$", "", text)),
        options=spelled(_options(text)),
    )
    return tidy(asked)


def lead_of_title(title: str) -> str:
    """Return what stands before the title's tail."""
    return re.split(r"(?<=\?) |: | - ", title)[0]


def shorten(text: str, limit: int) -> str:
    """Return the text within the limit, cut at a word, without a dangling small word or mark."""
    if len(text) <= limit:
        return text
    words = text[: limit + 1].rsplit(" ", 1)[0].split()
    while len(words) > 1 and (words[-1].lower() in DANGLING or not words[-1][-1].isalnum()):
        bare = words[-1].rstrip(":;,&-")
        if bare and bare.lower() not in DANGLING:
            words[-1] = bare
            break
        words.pop()
    return " ".join(words)[:limit]


def first_free(titles: Sequence[str], taken: set[str]) -> str:
    """Return the first title whose folded form is not taken, else the first with a number."""
    for title in titles:
        if title.casefold() not in taken:
            return title
    numbers = range(2, len(taken) + 3)
    return next(
        title
        for number in numbers
        if (title := f"{titles[0]} (Part {number})").casefold() not in taken
    )


def _ready(keyword: str) -> str:
    """Return the keyword as forms match it, never empty: of marks alone, nothing is taken off."""
    text = tidy(plain(keyword)).rstrip("?.! ") or keyword.strip() or "?"
    for shape, written in REWRITES:
        text = shape.sub(written, text)
    return text


def _joined(lead: str, tail: str) -> str:
    if not (lead and tail):
        return lead or tail
    if lead.endswith("?"):
        return f"{lead} {tail}"
    return f"{lead} - {tail}" if ":" in lead else f"{lead}: {tail}"


def _options(text: str) -> str:
    """Return the text as a plural: "hand grinder options for travel"."""
    what, *rest = re.split(r"(?= for | with | in )", text, maxsplit=1)
    return "".join([what, "" if what.endswith("s") else " options", *rest])


def _sentence(title: str) -> str:
    """Return a question's title with low words again, but for names that have capitals inside."""
    first, *rest = title.split()
    low = [word if any(map(str.isupper, word[1:])) else word.lower() for word in rest]
    return " ".join([first, *("I" if word == "i" else word for word in low)])


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
