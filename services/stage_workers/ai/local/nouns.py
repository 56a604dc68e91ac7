"""Says a keyword inside a sentence: as a noun phrase, where its form allows, else in quotes."""

import re
from collections.abc import Callable, Sequence

from services.stage_workers.ai.local.casing import SPELLINGS, spelled, title_case, word_set
from services.stage_workers.ai.local.forms import GERUNDS
from services.stage_workers.ai.local.names import STOP, head_term, plain
from services.stage_workers.ai.local.titles import form_of

VERBS = word_set(
    "adjust avoid bake book boost build buy calculate change choose clean compare cook create cut"
    " do draw eat exercise find fix fold get grow handle improve increase install invest keep"
    " lay learn lose lower make measure move open organize paint pay pick plan plant play"
    " prepare prevent price print prune raise read reduce remove renew repair rent replace run save"
    " seal sell set sew sharpen speed start stop store study switch teach tell tie track train"
    " treat trim use warm wash wear whiten write"
)
UNCOUNTED = word_set(
    "advice bread caffeine care coffee cost credit debt delivery diet equipment food furniture"
    " gear grass growth hair health help income info insurance management marketing milk money"
    " music news oil pain pay power price removal rent rice risk roi seed seo skin sleep soil"
    " spam sugar support tax tea time traffic water weight wine work yoga brew metering freight"
    " laundry knowledge luggage jewelry data media online"
)
ABSTRACT = ("ing", "ment", "ity", "ness", "ance", "ence", "ware", "tion", "sion", "ics", "ism")
SPLIT = re.compile(
    r" (?=(?:for|with|in|on|at|of|by|per|under|without|to|from|after|before|near|and|vs)\b)"
)
DOING = re.compile(r"ing (?:a|an|the|your|my)\b")


def said(keyword: str) -> str:
    """Return what can follow a preposition or a verb, such as "the best espresso machine".

    It keeps the words as they are searched for where that makes a phrase: "how to clean solar
    panels" becomes "cleaning solar panels", and other questions stand in quotes.
    """
    form, text = form_of(keyword), plain(keyword).rstrip("?.! ")
    match = form.shape.match(text)
    make = SAID.get(form.name, _noun)
    phrase = make(text, match.groupdict() if match else {})
    return _written(phrase)


def topic_of(keywords: Sequence[str]) -> str:
    """Return the short name of what an article is about, as a noun phrase."""
    if not keywords:
        return "the topic"
    if len(keywords) > 1:
        head = head_term(keywords)
        return said(head) if form_of(head).name in SENTENCES else _written(with_article(head))
    form, text = form_of(keywords[0]), plain(keywords[0]).rstrip("?.! ")
    return SHORT.get(form.name) or f"the {head_of(text)}"


def head_of(phrase: str) -> str:
    """Return the noun that the words before it describe: "bin" of "worm bin for beginners"."""
    head = SPLIT.split(phrase, maxsplit=1)[0].split()[-1:]
    return _written(head[0]) if head and head[0].isalpha() and head[0] not in STOP else "subject"


def quoted(keyword: str) -> str:
    """Return the keyword as it is searched for, in quotes."""
    return f"“{' '.join(keyword.split())}”"


def with_article(phrase: str) -> str:
    """Return the phrase with a or an, unless its head is a plural, a mass or a name."""
    words = SPLIT.split(phrase, maxsplit=1)[0].split()
    head = words[-1] if words else ""
    name = SPELLINGS.get(head, "")
    is_bare = head.endswith(("s", *ABSTRACT)) and not head.endswith(("ss", "us"))
    if not head or is_bare or head in UNCOUNTED or name[:1].isupper() or not head.isalpha():
        return phrase
    if words[0] in STOP or words[0] == "free" or DOING.search(phrase):
        return phrase
    return f"{_article(words[0])} {phrase}"


def gerund(verb: str) -> str:
    """Return the form in -ing of an English verb in lower case."""
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return f"{verb[:-1]}ing"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
        return f"{verb}{verb[-1]}ing"
    return f"{verb}ing"


def _written(phrase: str) -> str:
    return spelled(phrase).replace("vs.", "vs")


def _article(word: str) -> str:
    letters = SPELLINGS.get(word, word)
    if letters.isupper() and len(letters) > 1:  # said letter by letter
        return "an" if letters[0] in "AEFHILMNORSX" else "a"
    if word.startswith(("hour", "honest", "heir")):
        return "an"
    sounds_otherwise = word.startswith(("uni", "use", "eu", "one")) or word[:2] == "us"
    return "an" if word[0] in "aeio" or (word[0] == "u" and not sounds_otherwise) else "a"


def _noun(text: str, parts: dict[str, str]) -> str:  # noqa: ARG001
    return with_article(text)


def _task(text: str, parts: dict[str, str]) -> str:  # noqa: ARG001
    verb, _, rest = text.removeprefix("how to ").partition(" ")
    if verb not in VERBS and verb not in GERUNDS:
        return f"the question {quoted(text)}"
    return f"{gerund(verb)} {rest}".strip()


def _question(text: str, parts: dict[str, str]) -> str:  # noqa: ARG001
    return f"the question {quoted(text)}"


# forms that are no name of a thing, however short
SENTENCES = frozenset(
    ("difference", "versus", "how to", "imperative", "order", "buy online", "how long to")
).union(("how much in", "aside", "question", "worth it", "near me"))
SHORT = {
    "versus": "the comparison",
    "difference": "the difference",
    "how to": "the task",
    "imperative": "the task",
    "question": "the question",
    "how long to": "the question",
    "how much in": "the question",
    "aside": "the question",
    "worth it": "the question",
    "near me": "the offer",
    "navigation": "the page",
    "buy online": "the purchase",
    "order": "the purchase",
    "trouble": "the problem",
    "choice": "the choice",
    "explained": "the subject",
}
SAID: dict[str, Callable[[str, dict[str, str]], str]] = {
    "difference": lambda text, parts: f"the difference between {parts.get('x', text)}",
    "versus": lambda text, parts: title_case(text),  # noqa: ARG005
    "how to": _task,
    "imperative": _task,
    "order": _task,
    "buy online": lambda text, parts: f"{gerund(parts['verb'])} {parts['y']} online",  # noqa: ARG005
    "how long to": _question,
    "how much in": _question,
    "aside": _question,
    "question": _question,
    "worth it": _question,
    "near me": lambda text, parts: f"{with_article(parts.get('x', text))} near you",
    "navigation": lambda text, parts: text,  # noqa: ARG005
    "best": lambda text, parts: f"the {text.removeprefix('the ')}",  # noqa: ARG005
    "explained": lambda text, parts: with_article(parts.get("x", text)),
    "trouble": lambda text, parts: f"the problem {quoted(text)}",  # noqa: ARG005
    "choice": lambda text, parts: f"the choice {quoted(text)}",  # noqa: ARG005
}
