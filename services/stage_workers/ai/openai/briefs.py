"""How a site's brief, and lists of things, are told to a model."""

from collections.abc import Iterable

from events.brief import Brief

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian",
    "lv": "Latvian", "nb": "Norwegian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian",
    "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
MOST_LINES = 40


def told(brief: Brief) -> str:
    """Return the brief in lines; small models know names of languages better than their tags."""
    name = LANGUAGES.get(brief.language.split("-")[0].lower(), "")
    lines = [f"Language: {name} ({brief.language})" if name else f"Language: {brief.language}"]
    if brief.brand_voice:
        lines.append(f"Voice: {brief.brand_voice}")
    if brief.audience:
        lines.append(f"Audience: {brief.audience}")
    if brief.banned_words:
        lines.append(f"Never use these words: {'; '.join(brief.banned_words)}")
    return "\n".join(lines)


def listed(texts: Iterable[str], most: int = MOST_LINES) -> str:
    """Return one line per text, each in one line, at most so many; a word where there are none."""
    lines = [" ".join(text.split()) for text in texts][:most]
    return "\n".join(f"- {line}" for line in lines if line) or "(none)"
