# ruff: noqa: RUF001  # other scripts are meant
"""Each gate: what it measures, and where it begins to fail."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from events.brief import Brief
from events.quality import Measure, Quality
from services.stage_workers.quality.duplicates import MOST, near_duplicate, shingles
from services.stage_workers.quality.grammar import Hint, Unchecked
from services.stage_workers.quality.judge import better, findings, is_worth_a_rewrite, judge
from services.stage_workers.quality.markdown import parse
from services.stage_workers.quality.written import NOBODY, Neighbour, Neighbours, Written
from tests.quality.articles import CHINESE, COLD_BREW, GOOD, IN_CHINESE, good, spoiled

NAMES = (
    "length", "readability", "keyword_coverage", "headings", "questions", "banned_words",
    "unfinished", "repetition", "near_duplicate", "cannibalisation", "meta_title",
    "meta_description", "links", "grammar",
)  # fmt: skip
FILLER = "The jar stands in the fridge and the water takes its time. "


def measured(
    name: str,
    written: Written,
    language: str = "en",
    banned: tuple[str, ...] = (),
    site: Neighbours = NOBODY,
) -> Measure:
    quality = judge(written, Brief(language=language, banned_words=banned), site)
    (found,) = [measure for measure in quality.measures if measure.name == name]
    return found


def of_words(count: int) -> str:
    return " ".join(f"word{number}" for number in range(count)) + "."


def test_a_good_article_passes_every_gate():
    quality = judge(GOOD, Brief())
    assert [measure.name for measure in quality.measures] == list(NAMES)
    assert (quality.passed, quality.rewritten, quality.failed) == (True, False, ())
    assert findings(quality) == ""


@pytest.mark.parametrize("language", ["de", "zh", "th"])
def test_a_text_that_is_not_english_is_not_judged_by_english_rules(language: str):
    for name in ("readability", "grammar"):
        found = measured(name, GOOD, language)
        assert (found.value, found.passed) == (None, True)
        assert language in found.detail
        assert "not" in found.detail


def test_a_good_article_in_chinese_passes_and_is_measured_by_its_characters():
    quality = judge(IN_CHINESE, Brief(language="zh-Hans"))
    assert quality.failed == ()
    by_name = {measure.name: measure.value for measure in quality.measures}
    assert by_name["length"] == 555
    assert by_name["keyword_coverage"] == 1.0
    assert by_name["questions"] == 2


@pytest.mark.parametrize(
    ("body", "language", "value", "passed"),
    [
        (of_words(299), "en", 299, False),
        (of_words(300), "en", 300, True),
        (of_words(5_000), "de", 5_000, True),
        (of_words(5_001), "de", 5_001, False),
        ("咖" * 499, "zh", 499, False),
        ("咖" * 500, "ja", 500, True),
        ("กาแฟ" * 125, "th", 500, True),
        ("## A heading counts\n\n- so does an item\n", "en", 7, False),
        ("```\nno code\n```\n", "en", 0, False),
        ("", "en", 0, False),
    ],
)
def test_length(body: str, language: str, value: int, *, passed: bool):
    found = measured("length", good(body=body), language)
    assert (found.value, found.passed) == (value, passed)


def test_readability_fails_long_sentences_of_long_words():
    hard = (
        "Notwithstanding organisational considerations, interdepartmental communication"
        " necessitates comprehensive administrative documentation methodologies. "
    )
    assert measured("readability", good(body=hard * 12)).passed is False
    assert measured("readability", good(body=FILLER * 12)).passed is True
    short = measured("readability", good(body=FILLER * 2))
    assert (short.value, short.passed) == (None, True)


@pytest.mark.parametrize(
    ("keywords", "language", "value", "passed"),
    [
        (("cold brew coffee",), "en", 1.0, True),
        (("Cold-Brew Coffees",), "en", 1.0, True),
        (("the ratio for cold brew",), "en", 0.0, False),
        (("jar with the lids",), "en", 1.0, True),
        (("how to pour the water",), "en", 1.0, True),
        (("café filter", "cold brew coffee"), "en", 0.5, False),
        (("tea", "cold brew coffee", "iced coffee"), "en", 0.67, False),  # the first one is missing
        (("cold brew coffee", "iced coffee", "tea"), "en", 0.67, True),
        (("cold brew coffee", "tea", "milk"), "en", 0.67, True),
        (("cold brew coffee", "tea", "cake"), "en", 0.33, False),
        ((), "en", None, True),
        (("Cold brew coffees",), "de", 0.0, False),
        (("cold brew coffee",), "de", 1.0, True),
    ],
)
def test_keyword_coverage(
    keywords: tuple[str, ...], language: str, value: float | None, *, passed: bool
):
    found = measured("keyword_coverage", good(keywords=keywords), language)
    assert (found.value, found.passed) == (value, passed)


def test_missing_keywords_are_told():
    found = measured("keyword_coverage", good(keywords=("cold brew coffee", "tea", "cake")))
    assert "“tea”, “cake”" in found.detail


def test_keywords_of_a_language_without_spaces_are_found_inside_sentences():
    body = "这里介绍冷萃咖啡的做法。"
    assert measured("keyword_coverage", good(body=body, keywords=("冷萃咖啡",)), "zh").value == 1
    assert measured("keyword_coverage", good(body=body, keywords=("冷咖啡",)), "zh").value == 0


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("## A\n\ntext\n\n## B\n\ntext\n", ""),
        ("## A\n\n### A1\n\ntext\n\n## B\n\n| a |\n| - |\n| b |\n", ""),
        ("text\n\n## A\n\ntext\n", "It has 1 heading of level 2"),
        ("# T\n\ntext\n\n## A\n\ntext\n\n## B\n\ntext\n", "no heading is of level 1: “T”"),
        ("### A\n\ntext\n\n## B\n\ntext\n\n## C\n\ntext\n", "skipped above “A”"),
        ("## A\n\ntext\n\n#### B\n\ntext\n\n## C\n\ntext\n", "skipped above “B”"),
        ("## A\n\n## B\n\ntext\n", "Nothing stands under “A”"),
        ("## A\n\ntext\n\n## B\n\n### B1\n", "Nothing stands under “B1”"),
        ("## A b\n\ntext\n\n## a  B!\n\ntext\n", "stand twice: “a B!”"),
        ("## A\n\n### Pros\n\ntext\n\n## B\n\n### Pros\n\ntext\n", ""),
        ("## A\n\n### Pros\n\ntext\n\n### Pros\n\ntext\n\n## B\n\ntext\n", "twice: “Pros”"),
        ("## A\n\ntext\n\n##\n\ntext\n\n## B\n\ntext\n", "It has 1 heading without text"),
    ],
)
def test_headings(body: str, problem: str):
    found = measured("headings", good(body=body))
    assert found.passed is (problem == "")
    assert problem in found.detail


def test_questions_are_advisory_and_need_answers():
    unanswered = spoiled(
        "\nIt keeps for a week in a closed bottle in the fridge. After that the taste turns flat,"
        " although it\nis still safe to drink for a few days more.\n",
        "",
    )
    found = measured("questions", unanswered)
    assert (found.value, found.passed, found.advisory) == (1, False, True)
    assert measured("questions", good(body=CHINESE), "zh").value == 2


@pytest.mark.parametrize(
    ("banned", "changes", "found"),
    [
        (("jar",), {}, 1),
        (("JAR", "Sieve"), {}, 2),
        (("ja",), {}, 0),
        (("jars of",), {}, 0),
        (("dark beans",), {}, 1),
        (("cheap",), {"title": "Cheap Coffee"}, 1),
        (("cheap",), {"meta_title": "Not cheap: coffee"}, 1),
        (("cheap",), {"meta_description": "Cheap!"}, 1),
        (("cheap",), {"body": "cheaper"}, 0),
        (("cheap",), {"body": "```\ncheap\n```"}, 1),
        (("schon",), {"body": "schön"}, 0),
        (("最好",), {"body": "这是最好的咖啡"}, 1),
        ((), {}, 0),
    ],
)
def test_banned_words(banned: tuple[str, ...], changes: dict[str, str], found: int):
    measure = measured("banned_words", good(**changes), banned=banned)
    assert (measure.value, measure.passed) == (found, found == 0)


END = "Change one thing at a time."


@pytest.mark.parametrize(
    "text",
    [
        "TODO", "Add the price (TBD).", "FIXME: source", "Lorem ipsum dolor.",
        "Write to [insert email].", "Visit [Your Company Name] today.", "{{ product }} is new.",
        "${price} is low.", "As an AI language model, it cannot taste.",
        "As an AI, I have no taste.", "I'm sorry, but I can’t write this.",
        "<insert link here>", "[Add a picture of the jar]",
    ],
)  # fmt: skip
def test_unfinished_and_templated_text(text: str):
    found = measured("unfinished", spoiled(END, text))
    assert (found.value, found.passed) == (1, False), found.detail


@pytest.mark.parametrize(
    "text",
    [
        "`{{ product }}` is a template.", "Press [Enter] and [Insert].", "Click [Add to Cart].",
        "Use a to-do list, and the todos vanish.", "As an AI engineer you know it.",
        "Here is the rest of the story.", "Your draft is ready.", "The array x[i] is short.",
    ],
)  # fmt: skip
def test_text_that_only_looks_unfinished(text: str):
    found = measured("unfinished", spoiled(END, text))
    assert found.passed, found.detail


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        ("Here is the revised article:\n\n" + COLD_BREW, False),
        ("Sure! Here is what you asked for.\n\n" + COLD_BREW, False),
        (COLD_BREW + "\nLet me know if you would like changes.\n", False),
        ("```markdown\n" + COLD_BREW + "```\n", False),
        (COLD_BREW + "\n- [ ] Check the facts\n", False),
        (COLD_BREW + "\nThe next thing to\n", False),
        (COLD_BREW + "\nThe steps are:\n", False),
        (COLD_BREW + "\nHe said “yes.”\n", True),
        (COLD_BREW + "\n**Enjoy it!**\n", True),
        (COLD_BREW + "\n- a last item\n", True),
        (COLD_BREW + "\n| a |\n| - |\n| b |\n", True),
    ],
)
def test_what_stands_around_the_text_and_where_it_ends(body: str, *, passed: bool):
    found = measured("unfinished", good(body=body))
    assert found.passed is passed, found.detail


def test_spanish_may_say_todo_and_thai_has_no_full_stop():
    assert measured("unfinished", good(body="TODO LO QUE NECESITAS."), "es").passed
    assert not measured("unfinished", good(body="TODO: falta."), "es").passed
    assert measured("unfinished", good(body="กาแฟเย็น"), "th").passed
    assert not measured("unfinished", good(body="冷萃咖啡"), "zh").passed


@pytest.mark.parametrize(
    ("body", "value", "passed"),
    [
        (COLD_BREW + f"\n{FILLER}Good.\n\n{FILLER}Better.\n", 1, True),
        (COLD_BREW + f"\n{FILLER}Good.\n\n{FILLER}Better.\n\n{FILLER}Best.\n", 2, False),
        (COLD_BREW + f"\n{FILLER}\n\n{FILLER}\n", 1, False),  # a whole paragraph
        (COLD_BREW + "\nStir it well.\n\nStir it well.\n", 0, True),
        ("把磨好的咖啡粉泡在冷水里放上半天。" * 3, 2, False),
    ],
)
def test_repetition(body: str, value: int, *, passed: bool):
    found = measured("repetition", good(body=body))
    assert (found.value, found.passed) == (value, passed)


def beside(*others: Neighbour) -> Neighbours:
    return Neighbours(others)


def sharing(own: str, other: str, language: str = "en") -> float:
    """Return the share of one text's shingles that the other has."""
    mine, theirs = (set(shingles(parse(text), language)) for text in (own, other))
    return len(mine & theirs) / len(mine)


def edited(text: str, every: int) -> str:
    """Return the text with every n-th word replaced."""
    return " ".join(
        f"other{at}" if at % every == 0 else word for at, word in enumerate(text.split(" "))
    )


def test_shingles_tell_copies_from_other_texts():
    prose = " ".join(f"{FILLER}{number} {number * 7} {number * 13}." for number in range(150))
    assert sharing(prose, prose) == 1
    assert sharing(prose.upper(), prose) == 1
    assert sharing(edited(prose, 50), prose) > 0.8  # 2 % of the words are others
    assert sharing(of_words(900), prose) == 0
    assert 0.5 < sharing(CHINESE, CHINESE.replace("咖啡", "茶"), "zh") < 1
    assert sharing(CHINESE, CHINESE[::-1], "zh") == 0
    assert sharing(CHINESE, CHINESE, "zh") == 1


def test_shingles_are_short_digests_that_every_process_computes_alike():
    found = shingles(parse(COLD_BREW), "en")
    assert list(found) == sorted(set(found))
    assert {len(one) for one in found} == {12}
    assert all(int(one, 16) % 8 == 0 for one in found)
    assert found[:2] == ("00d67d074ec8", "032c3c67b8b8")
    assert len(shingles(parse(of_words(4_900)), "en")) == MOST


@pytest.mark.parametrize(
    ("shared", "value", "passed"),
    [((), 0.0, True), ((3, 30), 0.3, True), ((31, 4), 0.31, False), ((100,), 1.0, False)],
)
def test_near_duplicates(shared: tuple[int, ...], value: float, *, passed: bool):
    others = [Neighbour(f"d{at}", f"Title {at}", shared=one) for at, one in enumerate(shared)]
    found = near_duplicate([str(number) for number in range(100)], beside(*others))
    assert (found.value, found.passed) == (value, passed)
    if not passed:
        assert "“Title 0”" in found.detail


def test_too_little_text_is_no_near_duplicate():
    found = near_duplicate(("a", "b"), beside(Neighbour("d", "T", shared=2)))
    assert (found.value, found.passed) == (None, True)


@pytest.mark.parametrize(
    ("other", "passed"),
    [
        (Neighbour("d", "Iced Tea", "iced tea"), True),
        (Neighbour("d", "Something Else", "Coffee, cold-brew"), False),
        (Neighbour("d", "Something Else", "cold brew coffees 2025"), False),
        (Neighbour("d", "Something Else", "cold brew coffee ratio"), True),
        (Neighbour("d", "A Practical Guide to Cold Brew Coffee (2024)", "brewing"), False),
        (Neighbour("d", "Cold Brew Coffee Makers: A Practical Guide", "makers"), True),
        (Neighbour("d", "Cold Brew Tea: A Practical Guide", ""), True),
    ],
)
def test_cannibalisation(other: Neighbour, *, passed: bool):
    found = measured("cannibalisation", GOOD, site=beside(Neighbour("x", "Beans"), other))
    assert found.passed is passed
    assert found.value == (0 if passed else 1)
    if not passed:
        assert f"“{other.title}”" in found.detail


def test_an_article_without_keywords_competes_only_by_its_title():
    found = measured("cannibalisation", good(keywords=()), site=beside(Neighbour("d", "Other")))
    assert found.passed


@pytest.mark.parametrize(
    ("field", "length", "language", "passed"),
    [
        ("meta_title", 14, "en", False), ("meta_title", 15, "en", True),
        ("meta_title", 60, "en", True), ("meta_title", 61, "en", False),
        ("meta_title", 6, "ja", True), ("meta_title", 5, "ja", False),
        ("meta_description", 49, "en", False), ("meta_description", 50, "en", True),
        ("meta_description", 155, "en", True), ("meta_description", 156, "en", False),
        ("meta_description", 20, "zh", True), ("meta_description", 19, "zh", False),
    ],
)  # fmt: skip
def test_metas(field: str, length: int, language: str, *, passed: bool):
    found = measured(field, good(**{field: "x" * length}), language)
    assert (found.value, found.passed) == (length, passed)


@pytest.mark.parametrize(
    ("markdown", "bad"),
    [
        ("[a](/light-roasts)", 0), ("[a](/light-roasts/#top)", 0), ("[a](#top)", 0),
        ("[a](https://other.example)", 0), ("[a](mailto:a@b.example)", 0),
        ("![a](https://img.example/a.png)", 0), ("<https://other.example>", 0),
        ("[a](/unknown)", 1), ("[a](light-roasts)", 1), ("[a]()", 1), ("[a](ftp://x.example/y)", 1),
        ("[a](https://)", 1), ("![a](picture.png)", 1), ("[a](//x)", 1),
        ("[a](javascript:alert)", 0),  # no link in Markdown, so text
    ],
)  # fmt: skip
def test_links(markdown: str, bad: int):
    found = measured("links", good(body=markdown))
    assert (found.value, found.passed) == (bad, bad == 0)


@dataclass
class Checker:
    """A grammar checker that says what it is told to."""

    hints: int = 0
    error: str = ""
    heard: str = ""

    def __call__(self, text: str) -> tuple[Hint, ...]:
        self.heard = text
        if self.error:
            raise Unchecked(self.error)
        return tuple(Hint(f"an test {number}", "Use a.") for number in range(self.hints))


def checked(checker: Checker, language: str = "en", **changes: Any) -> tuple[Quality, Measure]:
    quality = judge(good(**changes), Brief(language=language), check=checker)
    return quality, quality.measures[-1]


@pytest.mark.parametrize(("hints", "passed"), [(0, True), (3, True), (4, False)])
def test_grammar_hints_are_counted_by_length_and_fail_no_draft(hints: int, *, passed: bool):
    quality, found = checked(Checker(hints))
    assert (found.value, found.passed, found.advisory) == (hints, passed, True)
    assert quality.passed
    assert findings(quality) == ""


def test_the_same_hint_about_the_same_words_counts_once():
    twice = (Hint("Dog Food", "One word?"), Hint("dog food", "One word?"), Hint("a", "One word?"))
    found = judge(GOOD, Brief(), check=lambda _: twice).measures[-1]
    assert found.value == 2


def test_the_checker_hears_english_paragraphs_and_nothing_else():
    checker = Checker()
    checked(
        checker, body="## Heading\n\nA [link](/x).\n\n| cell |\n| - |\n\n- item\n\n```\ncode\n```\n"
    )
    assert checker.heard == "A link.\n\nitem"
    silent = Checker()
    checked(silent, "de")
    assert silent.heard == ""


def test_a_checker_that_fails_fails_no_draft():
    quality, found = checked(Checker(error="it has crashed"))
    assert (found.value, found.passed) == (None, True)
    assert "it has crashed" in found.detail
    assert quality.passed


def test_findings_are_what_failed_and_then_advice():
    written = replace(spoiled(END, "TODO"), meta_title="Short")
    quality = judge(written, Brief(), check=Checker(9))
    lines = findings(quality).splitlines()
    assert [line[:2] for line in lines[1:]] == ["- "] * 3
    assert "“TODO”" in lines[1]
    assert "meta title has 5" in lines[2]
    assert "9 hints" in lines[3]


def test_what_only_the_idea_can_mend_is_no_reason_to_write_again():
    twin = beside(Neighbour("d", "Other", "cold brew coffee"))
    quality = judge(GOOD, Brief(), twin)
    assert [measure.name for measure in quality.failed] == ["cannibalisation"]
    assert not is_worth_a_rewrite(quality)
    both = judge(good(meta_title=""), Brief(), twin)
    assert is_worth_a_rewrite(both)
    assert "keyword" not in findings(both)


def test_the_better_of_two_fails_less_and_of_equals_it_is_the_first():
    one, none = judge(good(meta_title=""), Brief()), judge(GOOD, Brief())
    other = judge(good(meta_description=""), Brief())
    assert better(one, none) is none
    assert better(none, one) is none
    assert better(one, other) is one
