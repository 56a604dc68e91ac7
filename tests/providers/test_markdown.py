import pytest

from services.stage_workers.ai.model import Link
from services.stage_workers.ai.openai.markdown import (
    assembled,
    finished,
    linked_to,
    parts_of,
    questions_in,
    revised,
    section_text,
    shortened,
    tail,
)

LINKS = (Link("Trail Maps", "/trail-maps"), Link("Boots", "/boots"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Plain.", "Plain."),
        ("## What It Costs\n\nTen.", "Ten."),
        ("### What it costs:\n\nTen.", "Ten."),
        ("**What It Costs**\n\nTen.", "Ten."),
        ("**What It Costs:**\nTen.", "Ten."),
        ("What It Costs\n\nTen.", "Ten."),
        ("# The Article's Title\n\nTen.", "Ten."),
        ("### A Part\n\nTen.", "### A Part\n\nTen."),
        ("Ten.\n\n## A Part ##\n\nMore.", "Ten.\n\n### A Part\n\nMore."),
        ("Ten.\n\n##### Deep\n\nMore.", "Ten.\n\n##### Deep\n\nMore."),
        ("**Ten** is what it costs.", "**Ten** is what it costs."),
        ("Ten.\r\n\r\nMore.", "Ten.\n\nMore."),
        ("## What It Costs", ""),
    ],
)
def test_a_section_comes_without_its_own_heading_and_with_none_above_its_own(text: str, kept: str):
    assert section_text(text, "What It Costs", LINKS) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("See [maps](/trail-maps).", "See [maps](/trail-maps)."),
        ("See [maps](</trail-maps>).", "See [maps](/trail-maps)."),
        ('See [maps](/trail-maps "Maps").', "See [maps](/trail-maps)."),
        ("[maps](/trail-maps) and [maps](/trail-maps)", "[maps](/trail-maps) and maps"),
        ("See [here](https://evil.test/).", "See here."),
        ("See [here](javascript:alert).", "See here."),
        ("See [](/boots)!", "See !"),
        ("![a shoe](https://evil.test/a.png) Text", " Text"),
        ("[ ] to do", "[ ] to do"),
    ],
)
def test_links_lead_to_the_sites_own_articles_once_each(text: str, kept: str):
    assert linked_to(text, LINKS) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two is cut", "One."),
        ('He said "no." Then he', 'He said "no."'),
        ("No end at all", ""),
        ("Costs 3.50 in all. But th", "Costs 3.50 in all."),
        ("\u7d50\u679c\u3002\u6b21", "\u7d50\u679c\u3002"),
    ],
)
def test_what_was_cut_off_ends_with_its_last_whole_sentence(text: str, kept: str):
    assert finished(text, is_whole=False) == kept
    assert finished(text, is_whole=True) == text


def test_questions_are_kept_once_each_with_their_answers():
    said = (
        "Sure!\n\n## Is it hard?\n\nNo.\n\n#### Who helps?\n\n### Is it hard?\n\nStill no.\n\n"
        "### **Why?**\n\nSo."
    )
    assert questions_in(said) == "### Is it hard?\n\nNo.\n\n### Why?\n\nSo."
    assert questions_in("I cannot.") == ""


def test_an_article_is_its_parts_in_order():
    sections = [("A  B", "One."), ("C", "Two.")]
    assert assembled("Hello.", sections, "FAQ", "### Why?\n\nSo.") == (
        "Hello.\n\n## A B\n\nOne.\n\n## C\n\nTwo.\n\n## FAQ\n\n### Why?\n\nSo.\n"
    )
    assert assembled("", [("C", "Two.")], "FAQ", "") == "## C\n\nTwo.\n"


def test_a_body_is_cut_before_each_h2_and_nothing_is_lost():
    body = "Hello.\n\n## A\n\n### B\n\nx\n\n## C\n\ny\n"
    parts = parts_of(body)
    assert "".join(parts) == body
    assert [part.splitlines()[0] for part in parts] == ["Hello.", "## A", "## C"]


def test_a_revision_keeps_its_old_links_and_may_use_the_sites():
    before = "See [x](https://source.test/a)."
    text = "See [x](https://source.test/a), [maps](/trail-maps) and [z](https://evil.test)."
    kept = "See [x](https://source.test/a), [maps](/trail-maps) and z.\n"
    assert revised(text, before, LINKS) == kept


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("Short.", 20, "Short."),
        ("# Title\n\nA **bold** [link](/x) here.", 40, "A bold link here."),
        ("One sentence here. Another one that is long.", 25, "One sentence here."),
        ("A. Then a very long sentence without any end", 20, "A. Then a very long"),
        ("Unbrokenwordthatislong", 10, "Unbrokenwo"),
    ],
)
def test_a_meta_is_cut_from_plain_words(text: str, limit: int, kept: str):
    assert shortened(text, limit) == kept


def test_the_tail_is_the_last_words():
    assert tail("one two three", 2) == "two three"
    assert tail("", 2) == ""
