"""Seven stages with a real model: the flow, the shapes and the accounts; never the prose."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.llm.conftest import MODEL, SHOWN
from tests.llm.show import KEYWORDS, a_run, shown
from tests.system.septet import Septet
from tests.system.sums import assert_sums_agree, calls_of

Run = tuple[Septet, str]


@pytest.fixture(scope="module")
def ended(
    llm: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Run]:
    """A run that has ended, and is shown when the tests are over."""
    with a_run(llm, tmp_path_factory.mktemp("run") / "data") as (septet, run_id):
        pytestconfig.stash[SHOWN] = shown(septet, run_id)
        yield septet, run_id


def asked_of_the_model(run: Run) -> list[Any]:
    return [call for call in calls_of(*run) if call["model"] == MODEL]


def test_keywords_come_to_review(ended: Run):
    septet, run_id = ended
    run = septet.run(run_id)
    assert (run["status"], run["error_message"]) == ("completed", None)
    assert run["stages"][0]["items_done"] == len(KEYWORDS)
    assert {stage["status"] for stage in run["stages"]} <= {"completed", "partial"}
    drafts = septet.get("/writer/content", site_id=run["site_id"], status="review")["items"]
    assert len(drafts) == run["stages"][6]["result"]["ready_for_review"] >= 1


def test_an_article_has_the_shape_of_one(ended: Run):
    septet, run_id = ended
    site = septet.run(run_id)["site_id"]
    for one in septet.get("/writer/content", site_id=site)["items"]:
        article = septet.get(f"/writer/content/{one['id']}")
        assert article["title"]
        assert article["keywords"]
        assert article["word_count"] > 50
        assert article["body"].count("\n## ") >= 2
        assert 0 < len(article["meta_title"]) <= 60
        assert 0 < len(article["meta_description"]) <= 155


def test_images_are_cards_that_were_drawn_here(ended: Run):
    septet, run_id = ended
    site = septet.run(run_id)["site_id"]
    images = septet.get("/writer/images", site_id=site)["items"]
    assert images
    for image in images:
        file = septet.call("GET", f"/writer/images/{image['id']}/file").content
        assert (file[:4], file[8:12]) == (b"RIFF", b"WEBP")
    drawn = [call for call in calls_of(*ended) if call["function"] == "generate_image"]
    assert {call["model"] for call in drawn} == {"local-1"}


def test_every_call_tells_its_prompt_and_its_tokens(ended: Run):
    calls = asked_of_the_model(ended)
    functions = {call["function"] for call in calls}
    assert functions == {
        "cluster_keywords",
        "generate_ideas",
        "write_article",
        "write_image_prompts",
    }
    for call in calls:
        name, _, version = call["prompt"].partition("@")
        assert name
        assert version.isdigit()
        assert len(call["prompt_hash"]) == 64
        assert call["cost_known"]
        assert min(call["tokens_in"], call["tokens_out"], call["credits"]) > 0


def test_run_stages_task_log_and_ledger_have_the_same_credits(ended: Run):
    assert_sums_agree(*ended)


def test_the_log_of_it_all_keeps_every_promise(ended: Run):
    ended[0].check()
