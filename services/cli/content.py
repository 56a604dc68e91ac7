"""`septet content`: read the articles that the pipeline wrote, and say what becomes of them."""

from enum import StrEnum
from typing import Annotated

import typer

from services.cli.client import BASE, Json, sign_in
from services.cli.output import command, emit, facts, group, local, table
from services.cli.shown import count
from services.logs import printable

app = group("Articles: list and read them; approve, reject or send back what is in review.")


class Status(StrEnum):
    """Where an article is on its way."""

    DRAFTED = "drafted"
    ILLUSTRATED = "illustrated"
    REVIEW = "review"
    APPROVED = "approved"
    REJECTED = "rejected"
    CHANGES_REQUESTED = "changes_requested"
    FAILED = "failed"


class Gates(StrEnum):
    """Whether an article passed its quality gates."""

    PASSED = "passed"
    FAILED = "failed"


GATES = {True: "passed", False: "failed", None: "-"}
Article = Annotated[str, typer.Argument(help="Article id, as content list shows it")]


@command(app, "list")
def show_all(
    site: Annotated[str, typer.Option(help="Site id")],
    status: Annotated[
        Status | None, typer.Option(help="Only these, such as review, which wait for a decision")
    ] = None,
    quality: Annotated[
        Gates | None, typer.Option(help="Only those that passed their quality gates, or failed")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many")] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before")] = None,
) -> None:
    """List a site's articles, oldest first."""
    query = {
        "site_id": site,
        "status": status and status.value,
        "quality": quality and quality.value,
        "limit": limit,
        "cursor": cursor,
    }
    found = sign_in("account").get(f"{BASE}/writer/content", **query)
    rows = [
        (
            one["id"],
            one["status"],
            GATES[one["quality_passed"]],
            one["word_count"],
            local(one["updated_at"]),
            one["title"],
        )
        for one in found["items"]
    ]
    more = f"\nMore with --cursor {found['next_cursor']}" if found["next_cursor"] else ""
    asked = [f"the status {status}"] if status else []
    asked += [f"quality gates {quality}"] if quality else []
    none = f"No articles with {' and '.join(asked)}." if asked else "No articles yet."
    heads = ("article", "status", "quality", "words", "changed", "title")
    emit(found, table(heads, rows) + more if rows else none)


@command(app, "show")
def show(article: Article) -> None:
    """Show an article: its facts, what was measured of it, then its Markdown."""
    found = sign_in("account").get(f"{BASE}/writer/content/{article}")
    body = found["body"]
    text = "Its text has been erased." if body is None else _readable(body)
    parts = [facts(_facts(found)), *_measures(found["quality"]), text]
    emit(found, "\n\n".join(parts))


@command(app, "approve")
def approve(article: Article) -> None:
    """Approve an article that is in review."""
    done = _decide(article, "approve", None)
    emit(done, f"{done['id']} {done['status']}")


@command(app, "reject")
def reject(
    article: Article,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads its history")],
) -> None:
    """Reject an article that is in review, for good."""
    done = _decide(article, "reject", {"reason": reason})
    emit(done, f"{done['id']} {done['status']}. It will not be written again")


@command(app, "request-changes")
def request_changes(
    article: Article,
    note: Annotated[str, typer.Option(help="What the writer should change")],
) -> None:
    """Send an article that is in review back, to be written again in the site's next run."""
    done = _decide(article, "request_changes", {"note": note})
    site = sign_in("account").get(f"{BASE}/writer/content/{article}")["site_id"]
    again = f"It will be written again in the next run: septet run start --site {site}"
    emit(done, f"{done['id']} changes requested. {again}")


def _decide(article: str, verb: str, body: Json | None) -> Json:
    return sign_in("account").post(f"{BASE}/writer/content/{article}/{verb}", body)


def _facts(found: Json) -> dict[str, object]:
    images, origin = found["images"], found["lineage"]
    rendered = sum(image["status"] == "rendered" for image in images)
    known = {
        "article": found["id"],
        "site": found["site_id"],
        "title": found["title"],
        "status": found["status"],
        "note": found["note"],
        "slug": found["slug"],
        "meta title": found["meta_title"],
        "meta description": found["meta_description"],
        "keywords": ", ".join(found["keywords"]),
        "words": found["word_count"],
        "quality": _verdict(found["quality"]),
        "images": f"{rendered} of {count(len(images), 'image')} rendered",
        "run": origin["run_id"],
    }
    return {name: value for name, value in known.items() if value is not None}


def _verdict(quality: Json | None) -> str | None:
    if quality is None:
        return None
    again = ", after a rewrite" if quality["rewritten"] else ""
    return f"{GATES[quality['passed']]}{again}"


def _measures(quality: Json | None) -> list[str]:
    """Return a line a measure: one that is advisory fails no article."""
    if quality is None:
        return []
    rows = [
        (
            one["name"],
            "-" if one["value"] is None else f"{one['value']:g}",
            "passed" if one["passed"] else "advice" if one["advisory"] else "failed",
            one["detail"],
        )
        for one in quality["measures"]
    ]
    return [table(("measure", "value", "", "what was found"), rows)]


def _readable(markdown: str) -> str:
    """Return the text with its lines, and with all else that steers a terminal spelled out."""
    return "\n".join(printable(line) for line in markdown.strip().split("\n"))
