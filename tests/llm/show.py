"""Shows a whole run with the language model: `python -m tests.llm.show` after `make test-llm`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.llm.conftest import MODEL, PYTHON, starting
from tests.system.septet import Septet, running

KEYWORDS = (
    "how to make cold brew coffee",
    "cold brew coffee ratio",
    "best espresso machine",
)
WITHIN = 3_600.0  # seconds; two minutes on a machine that has nothing else to do
NOT_SHOWN = ("id", "body", "images", "lineage", "keywords")


@contextmanager
def a_run(url: str, folder: Path) -> Iterator[tuple[Septet, str]]:
    """Give a Septet whose provider is the server, and the id of a run that has ended."""
    with running(
        folder,
        SEPTET_AI_PROVIDER="openai",
        SEPTET_AI_BASE_URL=url,
        SEPTET_AI_TEXT_MODEL=MODEL,
        SEPTET_AI_TIMEOUT_SECONDS="900",
        SEPTET_AI_CALLS_AT_ONCE="1",
        SEPTET_BATCH_TIMEOUT_SECONDS="3600",
    ) as septet:
        run_id = septet.start_run(septet.new_site(KEYWORDS, max_items_per_stage=len(KEYWORDS)))
        septet.finished(run_id, WITHIN)
        yield septet, run_id


def shown(septet: Septet, run_id: str) -> str:
    """Return the run's log, an article with all that is known of it, and where an image lies."""
    run = septet.run(run_id)
    lines = septet.get("/automation/logs", run_id=run_id, lines=1_000)["lines"]
    parts = [f"{line['at'][:19]}  {line['level']:<7}  {line['message']}" for line in lines]
    articles = septet.get("/writer/content", site_id=run["site_id"])["items"]
    for one in articles[:1]:
        article = septet.get(f"/writer/content/{one['id']}")
        known = {name: value for name, value in article.items() if name not in NOT_SHOWN}
        parts += ["", *(f"{name}: {value}" for name, value in known.items()), "", article["body"]]
    images = septet.get("/writer/images", site_id=run["site_id"])["items"]
    for image in images[:1]:
        file = PYTHON.parents[1] / "image.webp"  # a place that stays
        file.write_bytes(septet.call("GET", f"/writer/images/{image['id']}/file").content)
        parts += [f"image: {file}"]
    return "\n".join(parts)


def main() -> None:
    """Make a run and print it."""
    folder = Path(tempfile.mkdtemp(prefix="septet-llm-"))
    with starting(folder) as url, a_run(url, folder / "data") as (septet, run_id):
        print(shown(septet, run_id))  # noqa: T201


if __name__ == "__main__":
    main()
