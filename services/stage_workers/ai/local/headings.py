"""Tells what kind of text belongs under a heading, and what kind of answer to a question."""

from services.stage_workers.ai.local.stock import STOCK, Kind
from services.stage_workers.ai.local.titles import form_of

# by the words of a heading that no keyword made; the first that it has decides
WORDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("overview", ("at a glance", "overview")),
    ("mistakes", ("mistake", "misunderstanding", "safe", "watch out")),
    ("price", ("price", "cost", "spend", "included", "small print", "delivery", "where to look")),
    ("price", ("what you get", "commit", "what to ask", "questions to ask")),
    ("trouble", ("check first", "what to try", "professional", "does not work", "stuck")),
    ("measure", ("measured", "number", "yours", "result", "estimate", "track")),
    ("steps", ("before you start", "step", "fill it in", "adapt", "putting", "in practice")),
    ("steps", ("include", "move over", "next", "how to tell")),
    ("compare", ("compar", "criteria", "difference", "differ", "choose", "choosing", "options")),
    ("compare", ("look for", "check", "alternatives", "side by side", "which", "decide", "who it")),
    ("compare", ("case for", "case against", "switch", "gain", "skip", "combining")),
)
# by the form of the keyword that a heading or question was made from
FORMS: dict[str, Kind] = {
    "difference": "compare",
    "versus": "compare",
    "how to": "steps",
    "how long to": "measure",
    "how much in": "measure",
    "question": "understand",
    "near me": "price",
    "navigation": "trouble",
    "template": "steps",
    "calculator": "measure",
    "best": "compare",
    "review": "compare",
    "alternatives": "compare",
    "worth it": "compare",
    "pros and cons": "compare",
    "buy online": "price",
    "order": "price",
    "imperative": "steps",
    "price": "price",
    "deal": "price",
    "trouble": "trouble",
    "comparison": "compare",
    "purchase": "compare",
    "choice": "compare",
    "measure": "measure",
    "examples": "steps",
    "plan": "steps",
}


def kind_of(heading: str, keyword: str | None, main: str) -> Kind:
    """Return the kind of a heading: by the keyword that it was made from, else by its words.

    Only an article whose main keyword is about trouble has sections on trouble.
    """
    if keyword is not None:
        return FORMS.get(form_of(keyword).name, "understand")
    text = heading.lower()
    usual: Kind = FORMS.get(form_of(main).name, "understand")
    for kind, words in WORDS:
        if any(word in text for word in words):
            return usual if kind == "trouble" else kind
    return "understand"


def answers_of(question: str, keyword: str) -> tuple[str, ...]:
    """Return the answers that fit a question made from a keyword, or from none."""
    if not keyword:
        return STOCK["overview"].answers
    kind = FORMS.get(form_of(keyword).name, "understand")
    text = question.lower()
    if text.startswith(("how long", "how many", "how often", "how much", "when", "what time")):
        kind = "price" if "cost" in text else "measure"
    elif text.startswith(("how do i choose", "which", "is ", "are ")):
        kind = "compare"
    return STOCK[kind].answers
