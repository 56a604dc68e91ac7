"""`septet content` against an API of canned answers: reading articles, deciding on them."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.cli.conftest import Api
from tests.cli.rows import AT

Septet = Callable[..., Result]

SUMMARY = {
    "id": "draft-1",
    "title": "Cold brew",
    "status": "review",
    "word_count": 420,
    "quality_passed": False,
    "updated_at": AT,
}
ARTICLE = {
    **SUMMARY,
    "site_id": "site-1",
    "slug": "cold-brew",
    "body": "# Cold brew\n\nSteep\x1b[2J it.\n",
    "meta_title": "Cold brew",
    "meta_description": "How to.",
    "note": None,
    "quality": {
        "passed": False,
        "rewritten": True,
        "measures": [
            {
                "name": "length",
                "value": 420,
                "passed": True,
                "advisory": False,
                "detail": "It has 420 words.",
            },
            {
                "name": "near_duplicate",
                "value": 0.41,
                "passed": False,
                "advisory": False,
                "detail": "It shares 41% of its wording.",
            },
            {
                "name": "questions",
                "value": 0,
                "passed": False,
                "advisory": True,
                "detail": "0 headings ask.",
            },
            {
                "name": "grammar",
                "value": None,
                "passed": True,
                "advisory": True,
                "detail": "It was not checked.",
            },
        ],
    },
    "keywords": ["cold brew", "ratio"],
    "images": [{"status": "rendered"}, {"status": "failed"}],
    "lineage": {"run_id": "run-1"},
}


def test_articles_are_listed_by_status_and_page(api: Api, septet: Septet) -> None:
    page = {"items": [SUMMARY], "next_cursor": "more"}
    api.on("GET", "/writer/content", page, page, {"items": [], "next_cursor": None})
    lines = septet("content", "list", "--site", "site-1", "--status", "review").stdout.splitlines()
    assert lines[0].split() == ["ARTICLE", "STATUS", "QUALITY", "WORDS", "CHANGED", "TITLE"]
    assert lines[1].split()[:3] == ["draft-1", "review", "failed"]
    assert lines[2] == "More with --cursor more"
    assert dict(api.asked[0].url.params) == {
        "site_id": "site-1",
        "status": "review",
        "limit": "50",
    }
    as_json = septet("content", "list", "--site", "site-1", "--output", "json")
    assert json.loads(as_json.stdout) == page
    none = septet("content", "list", "--site", "site-1", "--status", "approved")
    assert none.stdout == "No articles with the status approved.\n"


def test_articles_are_listed_by_whether_they_passed_their_gates(api: Api, septet: Septet) -> None:
    judged = [SUMMARY | {"quality_passed": passed} for passed in (True, False, None)]
    empty = {"items": [], "next_cursor": None}
    api.on("GET", "/writer/content", empty | {"items": judged}, empty, empty)
    lines = septet("content", "list", "--site", "site-1").stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["QUALITY", "passed", "failed", "-"]
    none = septet("content", "list", "--site", "site-1", "--quality", "failed")
    assert none.stdout == "No articles with quality gates failed.\n"
    assert api.asked[1].url.params["quality"] == "failed"
    both = ("--quality", "passed", "--status", "review")
    none = septet("content", "list", "--site", "site-1", *both)
    assert none.stdout == "No articles with the status review and quality gates passed.\n"


def test_an_article_is_its_facts_and_its_markdown(api: Api, septet: Septet) -> None:
    api.on("GET", "/writer/content/draft-1", ARTICLE, ARTICLE, ARTICLE | {"body": None})
    head, measures, body = septet("content", "show", "draft-1").stdout.split("\n\n", 2)
    assert "quality           failed, after a rewrite" in head.splitlines()
    assert [line.split()[:3] for line in measures.splitlines()[1:]] == [
        ["length", "420", "passed"],
        ["near_duplicate", "0.41", "failed"],
        ["questions", "0", "advice"],
        ["grammar", "-", "passed"],
    ]
    assert body == "# Cold brew\n\nSteep\\x1b[2J it.\n"
    assert "images            1 of 2 images rendered" in head.splitlines()
    assert "note" not in head
    as_json = septet("content", "show", "draft-1", "--output", "json")
    assert json.loads(as_json.stdout) == ARTICLE
    assert septet("content", "show", "draft-1").stdout.endswith("\n\nIts text has been erased.\n")


@pytest.mark.parametrize(
    ("command", "path", "body", "status", "said"),
    [
        (("approve",), "approve", b"", "approved", "draft-1 approved\n"),
        (
            ("reject", "--reason", "Off topic"),
            "reject",
            b'{"reason":"Off topic"}',
            "rejected",
            "draft-1 rejected. It will not be written again\n",
        ),
        (
            ("request-changes", "--note", "Shorter"),
            "request_changes",
            b'{"note":"Shorter"}',
            "changes_requested",
            "draft-1 changes requested. It will be written again in the next run: "
            "septet run start --site site-1\n",
        ),
    ],
)
def test_a_decision_says_what_becomes_of_the_article(
    api: Api,
    septet: Septet,
    command: tuple[str, ...],
    path: str,
    body: bytes,
    status: str,
    said: str,
) -> None:
    verb, *options = command
    decided = {"id": "draft-1", "status": status}
    api.on("POST", f"/writer/content/draft-1/{path}", decided)
    api.on("GET", "/writer/content/draft-1", ARTICLE)
    done = septet("content", verb, "draft-1", *options)
    assert (done.exit_code, done.stdout) == (0, said)
    (sent,) = [request for request in api.asked if request.method == "POST"]
    assert sent.content == body
    as_json = septet("content", verb, "draft-1", *options, "--output", "json")
    assert json.loads(as_json.stdout) == decided


def test_a_decision_that_comes_too_late_is_refused(api: Api, septet: Septet) -> None:
    api.problem("POST", "/writer/content/draft-1/approve", 400, "invalid_transition")
    done = septet("content", "approve", "draft-1")
    assert (done.exit_code, done.stderr) == (3, "error: This is invalid_transition.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("reject", "draft-1"),
        ("request-changes", "draft-1"),
        ("list",),
        ("list", "--site", "site-1", "--status", "nonsense"),
    ],
)
def test_a_decision_needs_its_words_and_a_list_its_site(
    septet: Septet, arguments: tuple[str, ...]
) -> None:
    done = septet("content", *arguments)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
