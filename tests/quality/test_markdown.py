"""What a Markdown body is made of, and which of its links are taken out."""

import pytest

from services.stage_workers.quality.markdown import Block, parse, without_unknown_links

BODY = """\
Intro with *emphasis*
over two lines and `{{ code }}`.

## One [link](/one) <b>x</b>

- item
- [ ] box

| a | b |
| --- | --- |
| c | [d](https://other.example/d) |

```python
print("# no heading")
```

### Two

> A quote with ![a picture](https://img.example/a.png "t").
"""


def test_a_body_is_sections_of_blocks():
    document = parse(BODY)
    assert [(one.level, one.heading) for one in document.sections] == [
        (0, ""),
        (2, "One link <b>x</b>"),
        (3, "Two"),
    ]
    intro, one, two = document.sections
    assert intro.blocks == (
        Block(
            "prose",
            "Intro with emphasis over two lines and {{ code }}.",
            "Intro with emphasis over two lines and .",
        ),
    )
    assert [(block.kind, block.text) for block in one.blocks] == [
        ("item", "item"),
        ("item", "[ ] box"),
        ("cell", "a"),
        ("cell", "b"),
        ("cell", "c"),
        ("cell", "d"),
        ("code", 'print("# no heading")\n'),
    ]
    assert [(block.kind, block.text) for block in two.blocks] == [("prose", "A quote with .")]
    assert document.links == ("/one", "https://other.example/d")
    assert document.images == ("https://img.example/a.png",)
    assert "print" not in " ".join(document.passages)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("See [this](/known).", "See [this](/known)."),
        ("See [this](/known/?a=1#b).", "See [this](/known/?a=1#b)."),
        ("See [this](/unknown).", "See this."),
        ("See [*this* one](/unknown 'title').", "See *this* one."),
        ("See [this](relative/page).", "See this."),
        ("See [this]().", "See this."),
        ("See [this](#anchor).", "See [this](#anchor)."),
        (
            "See [this](https://other.example/unknown).",
            "See [this](https://other.example/unknown).",
        ),
        ("See [a](/unknown) and [b](/known).", "See a and [b](/known)."),
        ("[a](/unknown) and\n[b\nc](/unknown)", "a and\nb\nc"),
        ("- [a](/unknown)\n\n  [b](/unknown)\n", "- a\n\n  b\n"),
        ("> [a](/unknown)", "> a"),
        ("| a |\n| --- |\n| [b](/unknown) |", "| a |\n| --- |\n| b |"),
        ("[a][ref]\n\n[ref]: /unknown\n", "a\n\n[ref]: /unknown\n"),
        ("[![alt](https://img.example/a.png)](/unknown)", "![alt](https://img.example/a.png)"),
        ("`[a](/unknown)`\n\n[a](/unknown)", "`[a](/unknown)`\n\na"),
        ("`[a](/unknown)` or [a](/unknown)", "`[a](/unknown)` or a"),
        ("[a](/unknown) or `[a](/unknown)`", "a or `[a](/unknown)`"),
        ("[a](/unknown), [a](/unknown), [a](/unknown)", "a, a, a"),
        ("> [a\n> b](/unknown)", "> [a\n> b](/unknown)"),  # over lines of a quote
        ("```\n[a](/unknown)\n```", "```\n[a](/unknown)\n```"),
        ("## A [b](/unknown)\n\ntext", "## A b\n\ntext"),
        ("[a [b](/unknown) c](/unknown)", "[a b c](/unknown)"),
    ],
)
def test_a_link_to_an_unknown_page_of_the_site_becomes_its_text(body: str, expected: str):
    assert without_unknown_links(body, ("/known",)) == expected


def test_a_body_without_such_links_stays_byte_for_byte():
    assert without_unknown_links(BODY, ("/one",)) == BODY
