"""What a site's content should sound like: for whoever writes it, and for whoever checks it."""

from events.message import Value


def language_of(tag: str) -> str:
    """Return the primary subtag of a BCP 47 tag: `en` of `en-GB`."""
    return tag.partition("-")[0].lower()


def is_english(tag: str) -> bool:
    """Tell whether a BCP 47 tag is of English, which rules of ours are made for."""
    return language_of(tag) == "en"


class Brief(Value):
    """Language is a BCP 47 tag; voice and audience are sentences; banned words are whole words."""

    language: str = "en"
    brand_voice: str = ""
    audience: str = ""
    banned_words: tuple[str, ...] = ()


PLAIN = Brief()
