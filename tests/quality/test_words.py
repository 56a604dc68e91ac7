# ruff: noqa: RUF001  # other scripts are meant
"""Words, sentences and syllables, in several languages."""

import pytest

from events.brief import is_english
from services.stage_workers.quality.readability import reading_ease, syllables
from services.stage_workers.quality.words import (
    bare,
    content_words,
    folded,
    holds,
    is_spaceless,
    named,
    phrase,
    sentences,
    singular,
    subject,
    units,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One, two three!", ["One", "two", "three"]),
        ("step-by-step, 3.5 kg", ["step", "by", "step", "3", "5", "kg"]),
        ("it's the dogs' bowl", ["it's", "the", "dogs", "bowl"]),
        ("冷萃咖啡 250g", ["冷", "萃", "咖", "啡", "250g"]),
        ("コーヒー", ["コ", "ー", "ヒ", "ー"]),
        ("กาแฟเย็น", ["ก", "า", "แ", "ฟ", "เ", "ย็", "น"]),
        ("हिन्दी शब्द", ["हिन्दी", "शब्द"]),
        ("커피 만들기", ["커피", "만들기"]),
        ("…", []),
    ],
)
def test_units_are_words_or_the_characters_of_scripts_without_spaces(
    text: str, expected: list[str]
):
    assert units(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.50 a bag. Buy it.", ["It costs 3.50 a bag.", "Buy it."]),
        ("Take beans, e.g. dark ones. Stir.", ["Take beans, e.g. dark ones.", "Stir."]),
        ("“Stop.” He left.", ["“Stop.", "He left."]),
        ("第一句。第二句！", ["第一句。", "第二句！"]),
        ("no mark at the end", ["no mark at the end"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("coffee", 2), ("table", 2), ("tables", 2), ("make", 1), ("makes", 1), ("boxes", 2),
        ("watches", 2), ("wanted", 2), ("called", 1), ("the", 1), ("readability", 5), ("sky", 1),
        ("people", 2), ("rhythm", 1), ("minutes", 2), ("water", 2), ("tsk", 1),
    ],
)  # fmt: skip
def test_syllables_are_groups_of_vowels_that_are_heard(word: str, expected: int):
    assert syllables(word) == expected


def test_the_reading_ease_is_flesch_s_formula():
    # 6 words of one syllable in one sentence: 206.835 - 1.015 x 6 - 84.6
    assert reading_ease(1, ["the", "cat", "sat", "on", "the", "mat"]) == pytest.approx(116.145)
    assert reading_ease(2, ["coffee"] * 10) == pytest.approx(206.835 - 1.015 * 5 - 84.6 * 2)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("grinders", "grinder"), ("berries", "berry"), ("ties", "tie"), ("glass", "glass"),
        ("bus", "bus"), ("gas", "gas"), ("analysis", "analysis"), ("dog's", "dog"),
    ],
)  # fmt: skip
def test_singulars(word: str, expected: str):
    assert singular(word) == expected


def test_folding_knows_case_width_and_apostrophes_and_only_a_bare_text_has_no_accents():
    assert folded("Ｃafé’s STRASSE Straße") == "café's strasse strasse"
    assert bare("Café Ångström naïve") == "cafe angstrom naive"
    assert bare("กาแฟเย็น") == "กาแฟเย็น"


def test_small_words_plurals_and_the_question_count_in_english_only():
    assert phrase("How to clean your Coffee Grinders", "en") == ["clean", "coffee", "grinder"]
    assert content_words("How to clean it", "en") == ["how", "clean", "it"]
    assert content_words("to do", "en") == ["to", "do"]
    assert phrase("wie man die Mühlen reinigt", "de") == ["wie", "man", "die", "muhlen", "reinigt"]


def test_a_subject_has_no_order_and_no_year():
    assert subject("Best Coffee Grinders 2025", "en") == subject("coffee grinder best 2024", "en")
    assert subject("2024", "en") == {"2024"}
    assert subject("iPhone 14", "en") != subject("iPhone 15", "en")


def test_a_phrase_is_held_only_in_one_piece():
    assert holds(["a", "b", "c"], ["b", "c"])
    assert not holds(["a", "b", "c"], ["a", "c"])
    assert not holds(["a"], [])


def test_languages_are_told_by_their_first_subtag():
    assert [is_english(tag) for tag in ("en", "en-GB", "EN-us", "enm", "de")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert [is_spaceless(tag) for tag in ("zh-Hant", "ja", "th", "ko", "en")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_many_names_are_cut():
    assert named(["a", "b"]) == "“a”, “b”"
    assert named(["a", "b", "c"], most=2) == "“a”, “b” and 1 more"
    assert named(["abcdef"], length=4) == "“abc…”"
