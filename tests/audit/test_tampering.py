"""Whatever is altered behind Septet's back, in whichever copy: a line says it, and names it."""

import re
from dataclasses import replace

import pytest

from events.topics import Record
from services.audit import log as logs
from services.audit import topic
from services.audit.survey import Part
from services.audit.topic import NoBroker
from services.audit.verify import CHECKS, KeptHead, kept_heads, verify
from tests.audit.conftest import Copies
from tests.builders import ACCOUNT, RUN, SITE

RECORDED = "the event is not the one that was recorded"


def lines(found: list[str], check: str) -> list[str]:
    """Return what one check has found, without its name."""
    return [line.removeprefix(f"{check}: ") for line in found if line.startswith(f"{check}: ")]


def test_copies_that_nobody_altered_agree(copies: Copies) -> None:
    report = verify(copies.settings, CHECKS, copies.heads())
    assert report.findings == []
    assert [check.name for check in report.checks] == [
        "log", "chain", "heads", "topic", "read-model", "ledger", "artifacts",
    ]  # fmt: skip
    assert all(check.compared for check in report.checks)
    assert report.topic_compared
    assert report.events > len(copies.topic)  # some receipts are published nowhere


def test_one_byte_of_a_stored_body(copies: Copies) -> None:
    position, _, _, body = copies.event("KeywordsAdded")
    copies.write(position, body.replace(b'"keyword":"k1"', b'"keyword":"k9"'))
    found = copies.found()
    assert lines(found, "chain") == [f"{SITE} at position {position}: {RECORDED}"]
    (told,) = lines(found, "topic")
    assert told.endswith(f"at position {position} is not what the store has there")
    assert any("keywords" in line and "k9" in line for line in lines(found, "read-model"))


def test_a_space_that_changes_nothing_that_is_said(copies: Copies) -> None:
    position, _, _, body = copies.event("SiteCreated")
    copies.write(position, body.replace(b":", b": ", 1))
    found = copies.found()
    assert lines(found, "chain") == [f"{SITE} at position {position}: {RECORDED}"]
    assert len(lines(found, "topic")) == 1
    assert lines(found, "read-model") == lines(found, "log") == []


def test_a_body_that_can_no_longer_be_read(copies: Copies) -> None:
    position, stream, _, body = copies.event("StageCompleted")
    copies.write(position, body[:-1])
    found = copies.found("log", "chain", "topic", "ledger", "artifacts")
    assert f"{SITE} at position {position}: {RECORDED}" in lines(found, "chain")
    assert any(
        re.match(rf"{stream} v\d+ at position {position} is no event", line)
        for line in lines(found, "log")
    )
    assert any(line.endswith("is not in the store") for line in lines(found, "topic"))


def test_the_type_of_an_event(copies: Copies) -> None:
    position, *_ = copies.event("RunCompleted")
    copies.sql(
        "stored_events",
        "UPDATE stored_events SET topic = 'septet.RunPaused.v1' WHERE [at] = ?",
        position,
    )
    found = copies.found("log", "chain", "topic")
    assert lines(found, "chain") == [f"{SITE} at position {position}: {RECORDED}"]
    assert len(lines(found, "topic")) == 1
    assert lines(found, "log")


def test_an_event_that_is_deleted(copies: Copies) -> None:
    position, stream, _, _ = copies.event("StageBatchRequested", 1)
    copies.sql("stored_events", "DELETE FROM stored_events WHERE [at] = ?", position)
    found = copies.found("log", "chain", "topic")
    assert lines(found, "chain") == [
        f"{SITE} at position {position}: an event is gone from the store"
    ]
    (told,) = lines(found, "topic")
    assert told.endswith(f"at position {position} is not in the store")
    assert any(line.startswith(stream) for line in lines(found, "log"))


def test_the_newest_events_deleted(copies: Copies) -> None:
    last = max(row[0] for row in copies.sql("stored_events", "SELECT [at] FROM stored_events"))
    copies.sql("stored_events", "DELETE FROM stored_events WHERE [at] > ?", last - 3)
    gone = [line for line in lines(copies.found("chain"), "chain") if "gone" in line]
    assert len(gone) == 3


def test_a_receipt_that_is_published_nowhere(copies: Copies) -> None:
    ((position, body),) = copies.sql(
        "stored_events",
        "SELECT [at], state FROM stored_events WHERE originator_id LIKE 'receipt-%'"
        " AND topic = 'septet.MessageAccepted.v1' ORDER BY [at] DESC LIMIT 1",
    )
    assert b'"kind":"StageCompleted"' in body
    copies.write(position, body.replace(b'"actor":"system"', b'"actor":"nobody"'))
    assert copies.found() == [f"chain: {SITE} at position {position}: {RECORDED}"]


def test_two_events_that_change_places(copies: Copies) -> None:
    one, _, name, body = copies.event("StageStarted", 0)
    other, _, other_name, other_body = copies.event("StageStarted", 1)
    assert name == other_name
    copies.write(one, other_body)
    copies.write(other, body)
    found = copies.found("log", "chain", "topic")
    assert lines(found, "chain") == [
        f"{SITE} at position {position}: {RECORDED}" for position in (one, other)
    ]
    assert len(lines(found, "topic")) == 2
    assert lines(found, "log")


def put_in(copies: Copies, position: int) -> None:
    _, _, name, body = copies.event("CreditsGranted")
    forged = body.replace(b'"amount":1000', b'"amount":9999')
    ((version,),) = copies.sql(
        "stored_events",
        "SELECT max(originator_version) FROM stored_events WHERE originator_id = ?",
        ACCOUNT,
    )
    copies.sql(
        "stored_events",
        "INSERT INTO stored_events ([at], originator_id, originator_version, topic, state)"
        " VALUES (?, ?, ?, ?, ?)",
        position,
        ACCOUNT,
        version + 1,
        name,
        forged,
    )


def test_an_event_that_is_put_in_between(copies: Copies) -> None:
    there = {row[0] for row in copies.sql("stored_events", "SELECT [at] FROM stored_events")}
    gap = next(position for position in range(1, max(there)) if position not in there)
    put_in(copies, gap)
    found = copies.found()
    (told,) = lines(found, "chain")
    assert told.startswith(f"{ACCOUNT} at position {gap}: ")
    assert told.endswith("septet.CreditsGranted.v1 was put in")
    assert any(line.startswith(ACCOUNT) for line in lines(found, "ledger"))
    assert any(line.endswith("is missing") for line in lines(found, "topic"))


def test_an_event_that_is_put_at_the_end(copies: Copies) -> None:
    last = max(row[0] for row in copies.sql("stored_events", "SELECT [at] FROM stored_events"))
    put_in(copies, last + 1)
    found = copies.found()
    assert lines(found, "chain") == [f"1 events above position {last} have no head yet"]
    assert any("before the receipt" in line for line in lines(found, "log"))
    assert any(
        line.endswith(f"at position {last + 1} is missing") for line in lines(found, "topic")
    )


def test_a_store_and_a_chain_that_were_altered_together(copies: Copies) -> None:
    kept, witnesses = copies.heads(), list(copies.topic)
    position, _, _, body = copies.event("KeywordsAdded")
    copies.write(position, body.replace(b'"keyword":"k1"', b'"keyword":"k9"'))
    copies.sql("chain", "DELETE FROM chain")
    copies.sql("audit_heads", "DELETE FROM audit_heads")
    copies.link()
    forged, copies.topic[:] = list(copies.topic), witnesses
    assert copies.found("log", "chain") == []  # who holds both can make them agree
    told = lines(copies.found("topic"), "topic")
    assert told[0].endswith(f"at position {position} is not what the store has there")
    assert all("says another head of site-a than is recorded" in line for line in told[1:])
    assert len(told) == sum(
        (record.header("ce_siteid"), int(record.header("ce_position") or 0) >= position)
        == (SITE, True)
        for record in witnesses
    )
    copies.topic[:] = forged
    assert copies.found("topic") == []  # who also fills a new topic is told by a kept head alone
    (site,) = [one for one in kept if one.key == SITE]
    assert copies.found("chain", kept=tuple(kept)) == [
        f"heads: {SITE} at position {site.position}: "
        "the history up to there is not the one of the kept head"
    ]


def test_a_recorded_head(copies: Copies) -> None:
    position, *_ = copies.event("KeywordsAdded")
    copies.sql("chain", "UPDATE chain SET head = ? WHERE position = ?", b"\0" * 32, position)
    found = lines(copies.found("chain"), "chain")
    assert f"{SITE} at position {position}: {RECORDED}" in found
    (told,) = lines(copies.found("topic"), "topic")
    assert told.endswith("says another head of site-a than is recorded")


def test_a_head_that_is_told_to_tenants(copies: Copies) -> None:
    copies.sql("audit_heads", "UPDATE audit_heads SET head = ? WHERE key = ?", "0" * 64, SITE)
    (told,) = copies.found("chain")
    assert told.startswith(f"chain: audit_heads {SITE}: another head is recorded at")


def at(copies: Copies, number: int, record: Record) -> None:
    copies.topic[number] = record


def test_an_event_in_the_topic_only(copies: Copies) -> None:
    record = copies.topic[7]
    assert record.value is not None
    at(copies, 7, replace(record, value=record.value.replace(b'"system"', b'"nobody"')))
    (told,) = copies.found()
    assert told == (
        f"topic: {record.header('ce_id')} at position {record.header('ce_position')} "
        "is not what the store has there"
    )


def test_the_same_said_in_other_bytes_in_the_topic(copies: Copies) -> None:
    record = copies.topic[7]
    assert record.value is not None
    at(copies, 7, replace(record, value=record.value.replace(b":", b": ", 1)))
    assert [line for line in copies.found("topic") if "is not what the store has" in line]


def test_a_head_in_the_topic(copies: Copies) -> None:
    record = copies.topic[7]
    headers = tuple(
        (name, b"0" * 64 if name == "ce_chain" else value) for name, value in record.headers
    )
    at(copies, 7, replace(record, headers=headers))
    (told,) = copies.found("topic")
    assert told.endswith("says another head of site-a than is recorded")


def test_a_key_in_the_topic(copies: Copies) -> None:
    at(copies, 7, replace(copies.topic[7], key=b"site-b"))
    (told,) = copies.found("topic")
    assert told.endswith("is not what the store has there")


def test_records_that_are_missing_foreign_or_out_of_order(copies: Copies) -> None:
    gone = copies.topic.pop(9)
    early, late = copies.topic[10:12]
    copies.topic[10:12] = [late, early]
    copies.topic.append(Record(gone.topic, gone.key, b"{ no JSON", gone.headers, 3, 14))
    found = lines(copies.found("topic"), "topic")
    assert found[0].endswith(
        f"at position {early.header('ce_position')} comes after {late.header('ce_position')} of "
        f"{SITE}"
    )
    assert found[1] == (
        f"{gone.header('ce_id')} at position {gone.header('ce_position')} is missing"
    )
    assert len(found) == 2


def test_what_nobody_takes_for_an_event_is_noted_and_no_difference(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = copies.topic[5]
    strange = (
        replace(one, value=b"\xff\x00 garbage", headers=()),
        replace(one, value=b"{ no JSON"),
        replace(one, value=None),
        replace(one, headers=(("ce_type", b"septet.Unheard.v1"),)),
    )
    copies.topic += [replace(bad, partition=3, offset=n) for n, bad in enumerate(strange)]
    report = verify(copies.settings, ("topic",))
    assert report.findings == []
    assert len(report.notes) == len(strange)
    for number, told in enumerate(report.notes):
        assert told.startswith(f"topic: 3/{number} is no event: ")
    monkeypatch.setattr(topic, "MOST", 3)
    assert verify(copies.settings, ("topic",)).notes[3:] == ["topic: 1 more records are no events"]


def test_an_event_that_is_there_twice_is_no_difference(copies: Copies) -> None:
    copies.topic[:0] = copies.topic[:5]
    assert copies.found("topic") == []


def test_records_of_before_there_were_chains_are_no_difference(copies: Copies) -> None:
    copies.topic[:] = [
        replace(one, headers=tuple(pair for pair in one.headers if "chain" not in pair[0]))
        for one in copies.topic
    ]
    assert copies.found("topic") == []


def test_without_a_broker_the_rest_is_compared(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: object) -> object:
        raise NoBroker("nobody answers")

    monkeypatch.setattr(topic, "records", nobody)
    report = verify(copies.settings)
    assert (report.findings, report.topic_compared) == ([], False)


def test_a_row_of_the_read_model(copies: Copies) -> None:
    copies.sql("sites", "UPDATE sites SET name = 'forged' WHERE site_id = ?", SITE)
    (told,) = copies.found()
    assert told == f"read-model: sites {SITE}: name is 'forged', should be '{SITE}'"


def test_a_row_of_the_ledger(copies: Copies) -> None:
    position, *_ = copies.event("CreditsSettled", 0)
    copies.sql("ledger", "UPDATE ledger SET amount = amount + 1 WHERE position = ?", position)
    found = copies.found()
    (told,) = lines(found, "read-model")
    assert told.startswith(f"ledger {position}: amount is ")
    account, stage = lines(found, "ledger")
    assert account.startswith(f"{ACCOUNT} has ")
    assert "its ledger's rows sum up to" in account
    assert re.match(
        rf"{RUN} stage 1: the log's AI calls cost (\d+), the log settled \1, "
        r"the AI task log has \1, the ledger has \d+$",
        stage,
    )


def test_a_balance(copies: Copies) -> None:
    copies.sql("accounts", "UPDATE accounts SET balance = balance + 500")
    (told,) = copies.found("ledger")
    assert "its row says" in told


def test_a_row_of_the_ai_task_log(copies: Copies) -> None:
    copies.sql("ai_tasks", "DELETE FROM ai_tasks WHERE stage = 4")
    (told,) = copies.found("ledger")
    assert told.startswith(f"ledger: {RUN} stage 4: the log's AI calls cost ")
    assert ", the AI task log has 0, the ledger has " in told


def test_an_artifact(copies: Copies) -> None:
    changed, deleted, *_ = sorted(
        path for path in (copies.settings.data_dir / "artifacts").rglob("*") if path.is_file()
    )
    changed.write_bytes(b"other words")
    deleted.unlink()
    found = copies.found()
    assert all(line.startswith("artifacts: ") for line in found)
    by_digest = {line.split()[1].rstrip(","): line for line in found}
    assert by_digest.keys() == {changed.name, deleted.name}
    assert re.search(r"which position \d+ names, is [0-9a-f]{64}$", by_digest[changed.name])
    assert re.search(r"which position \d+ names, is missing$", by_digest[deleted.name])


def test_only_what_is_asked_for_is_compared(copies: Copies) -> None:
    copies.sql("sites", "UPDATE sites SET name = 'forged'")
    assert copies.found("log", "chain", "topic", "ledger", "artifacts") == []
    assert len(copies.found("read-model")) == 1


def test_heads_are_read_as_they_were_printed() -> None:
    text = (
        '{"site_id":"site-a","position":3,"head":"AB"}\n\n{"account_id":"a","position":1,"head":""}'
    )
    assert kept_heads(text.splitlines()) == [KeptHead("site-a", 3, "ab"), KeptHead("a", 1, "")]
    with pytest.raises(ValueError, match="line 1 is no head"):
        kept_heads(["[]"])


def test_a_head_of_a_position_that_is_not_there(copies: Copies) -> None:
    (told,) = copies.found("chain", kept=(KeptHead("site-x", 3, "0" * 64),))
    assert told == "heads: site-x has no event at 3, and a kept head"


def test_processes_that_share_the_work_find_the_same(copies: Copies) -> None:
    position, _, _, body = copies.event("StageCompleted")
    copies.write(position, body.replace(b'"partial":false', b'"partial":true'))
    alone, shared = (logs.read_log(copies.settings, parts=parts) for parts in (1, 2))
    assert alone.log
    assert (sorted(shared.log), shared.chain) == (sorted(alone.log), alone.chain)
    assert logs.verify_log(copies.settings) == [*alone.log, *alone.chain]
    assert sum(part.events for part in shared.surveys) == alone.events
    index = sorted(b"".join(bytes(part.index) for part in shared.surveys))
    assert index == sorted(bytes(alone.surveys[0].index))


def test_an_event_of_another_account_is_found_by_parts_that_know_one_each(copies: Copies) -> None:
    first, second = Part(0, 2), Part(1, 2)
    mine = b'"account_id":"account-a"'
    other = next(name for name in (f"account-{n}" for n in range(9)) if _is_split(mine, name))
    assert first.has(mine) != second.has(mine)
    position, *_, body = copies.event("SiteReleased")
    copies.write(position, body.replace(b'"account-a"', f'"{other}"'.encode()))
    for parts in (1, 2):
        found = logs.read_log(copies.settings, parts=parts).log
        assert [line for line in found if "belongs to" in line]


def _is_split(mine: bytes, name: str) -> bool:
    theirs = f'"account_id":"{name}"'.encode()
    return Part(0, 2).has(mine) != Part(0, 2).has(theirs)
