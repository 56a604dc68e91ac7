"""Articles, images and their review."""

import pytest

LISTS = {
    "/planner/clusters": {"id", "status", "name"},
    "/planner/ideas": {"id", "status", "title", "cluster_id"},
    "/writer/tasks": {"id", "status", "idea_id"},
    "/writer/content": {"id", "status", "title"},
    "/writer/images": {"id", "status"},
}


@pytest.fixture
def article(one):
    one.start_run()
    return one.write_article()


@pytest.mark.usefixtures("article")
def test_lists_have_the_contracts_fields(one):
    for path, fields in LISTS.items():
        (item,) = one.get(f"{path}?site_id={one.site_id}").json()["items"]
        assert set(item) >= fields, path


def test_an_article_comes_with_body_images_and_lineage(one, article):
    found = one.get(f"/writer/content/{article}").json()
    assert (found["body"], found["title"], found["slug"]) == ("# Body of ONE", "Title ONE", "title")
    assert (found["word_count"], found["keywords"]) == (4, ["a"])
    assert found["lineage"]["run_id"] == one.run_id
    assert set(found["lineage"]) == {"cluster_id", "idea_id", "task_id", "run_id"}
    assert [image["status"] for image in found["images"]] == ["rendered"]


def test_an_article_shows_what_was_measured_of_it(one, article):
    quality = one.get(f"/writer/content/{article}").json()["quality"]
    assert (quality["passed"], quality["rewritten"]) == (True, True)
    assert [(at["name"], at["value"]) for at in quality["measures"]] == [
        ("length", 640),
        ("keyword_coverage", 1.0),
        ("grammar", None),
    ]
    assert quality["measures"][0] == {
        "name": "length",
        "value": 640,
        "passed": True,
        "advisory": False,
        "detail": "It has 640 words; between 300 and 5,000 are expected.",
    }


def test_articles_are_listed_by_whether_they_passed(one, article):
    path = f"/writer/content?site_id={one.site_id}"
    (item,) = one.get(path).json()["items"]
    assert item["quality_passed"] is True
    (item,) = one.get(f"{path}&quality=passed&status=review").json()["items"]
    assert item["id"] == article
    assert one.get(f"{path}&quality=failed").json()["items"] == []
    assert one.get(f"{path}&quality=good").status_code == 400


def test_an_erased_body_is_none_and_an_erased_image_is_a_404(world, one, article):
    world.artifacts.files.clear()
    assert one.get(f"/writer/content/{article}").json()["body"] is None
    image = one.get(f"/writer/images?site_id={one.site_id}").json()["items"][0]["id"]
    assert one.get(f"/writer/images/{image}/file").status_code == 404


@pytest.mark.usefixtures("article")
def test_an_image_is_served_as_what_it_is_and_never_guessed(one):
    image = one.get(f"/writer/images?site_id={one.site_id}").json()["items"][0]["id"]
    answer = one.get(f"/writer/images/{image}/file")
    assert (answer.status_code, answer.content) == (200, b"image of ONE")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_review_sends_its_words(world, one, article):
    path = f"/writer/content/{article}"
    approved = one.post(f"{path}/approve")
    assert (approved.status_code, approved.json()) == (200, {"id": article, "status": "approved"})
    assert world.sent[-1].site_id == one.site_id
    assert one.post(f"{path}/reject", json={"reason": "No."}).json()["status"] == "rejected"
    assert world.sent[-1].message.reason == "No."
    one.post(f"{path}/request_changes", json={"note": "More.\nPlease."})
    assert world.sent[-1].message.note == "More.\nPlease."
    for body in ({}, {"reason": ""}, {"reason": " "}, {"reason": "a" * 2001}, {"note": "x"}):
        assert one.post(f"{path}/reject", json=body).status_code == 400
