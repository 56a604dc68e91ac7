"""What really travels is what `/asyncapi.json` says, read by a tool that knows nothing else."""

from events.topics import COMMANDS, RUN_EVENTS, STAGE_REPORTS, stage_topic
from tests.contracts.asyncapi import Reader, errors_of
from tests.system.septet import KEYWORDS, Septet


def test_every_record_is_what_the_published_document_says(septet: Septet) -> None:
    site = septet.new_site(KEYWORDS[:4])
    run_id = septet.start_run(site)
    septet.finished(run_id)
    (article, *_) = septet.get("/writer/content", site_id=site, status="review")["items"]
    septet.post(f"/writer/content/{article['id']}/approve")
    document = septet.api.get("/asyncapi.json").json()
    assert errors_of(document) == []
    reader, seen = Reader(document), dict[str, set[str]]()
    topics = (COMMANDS, RUN_EVENTS, STAGE_REPORTS, *map(stage_topic, range(1, 8)))
    for topic in topics:
        for record in septet.records(topic):
            key = (record.key or b"").decode()
            if key not in (site, run_id) and record.header("ce_siteid") != site:
                continue  # other tests put garbage there
            assert [*reader.errors(record)] == []
            seen.setdefault(topic, set()).add(record.header("ce_type") or "")
    assert set(seen) == set(topics)
    assert {"septet.RunStarted.v1", "septet.ContentApproved.v1"} <= seen[RUN_EVENTS]
    assert len(seen[RUN_EVENTS]) > 15
