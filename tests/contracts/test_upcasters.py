"""What was said in an old version is read as the current one, and stays as it was said."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic_core import from_json, to_json

from events import upcasters
from events.envelope import BadMessage, Envelope, UnknownMessage, decode, encode, is_readable
from events.message import KNOWN, Event, bare_name, wire_name
from events.reading import read_placed
from events.topics import RUN_EVENTS, published
from events.upcasters import UPCASTERS, following, upcasts
from services.orchestrator.store import Recorded, Store
from tests.stored.make import AT


class MeasuredV1(Event):
    """As the first release said it."""

    TYPE: ClassVar = "Measured"
    STREAM: ClassVar = "site"
    length: str
    unit: str


class MeasuredV2(Event):
    """The second release counted in millimetres."""

    TYPE: ClassVar = "Measured"
    STREAM: ClassVar = "site"
    VERSION: ClassVar[int] = 2
    millimetres: int


class Size(Event):
    """A part of the third release's message."""

    width: int


class MeasuredV3(Event):
    """The third release said who measured, and put the number into a part."""

    TYPE: ClassVar = "Measured"
    STREAM: ClassVar = "site"
    VERSION: ClassVar[int] = 3
    size: Size
    by: str


V1, V2, V3 = (wire_name(kind) for kind in (MeasuredV1, MeasuredV2, MeasuredV3))
LENGTHS = {"cm": 10, "mm": 1}


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first release: it knows its own version and nothing else."""
    monkeypatch.setitem(KNOWN, V1, MeasuredV1)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(monkeypatch)


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the third release in place: the current class and two upcasters."""
    monkeypatch.delitem(KNOWN, V1, raising=False)
    monkeypatch.setitem(KNOWN, V3, MeasuredV3)
    monkeypatch.setattr(upcasters, "UPCASTERS", {})
    monkeypatch.setattr("events.envelope.UPCASTERS", upcasters.UPCASTERS)

    @upcasts(V1)
    def in_millimetres(body: dict[str, Any]) -> dict[str, Any]:
        length = int(body.pop("length")) * LENGTHS[body.pop("unit")]
        return {**body, "millimetres": length}

    @upcasts(V2)
    def with_a_size(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "size": {"width": body.pop("millimetres")}, "by": body["actor"]}


def said(message: Event) -> Envelope:
    return Envelope(
        id="msg-1", account_id="account-1", site_id="site-1", at=AT, cause="cmd-1", actor="key-7",
        message=message,
    )  # fmt: skip


ENVELOPES = (
    (V1, said(MeasuredV1(length="12", unit="cm"))),
    (V2, said(MeasuredV2(millimetres=120))),
    (V3, said(MeasuredV3(size=Size(width=120), by="key-7"))),
)


@pytest.mark.usefixtures("third")
@pytest.mark.parametrize(("name", "envelope"), ENVELOPES)
def test_every_version_is_read_as_the_current_one(name: str, envelope: Envelope) -> None:
    now = decode(name, encode(envelope))
    assert now.message == MeasuredV3(size=Size(width=120), by="key-7")
    assert now.model_dump() == envelope.model_dump()


@pytest.mark.usefixtures("third")
def test_what_is_no_version_of_ours_is_unknown() -> None:
    body = encode(ENVELOPES[0][1])
    for name in ("septet.Measured.v0", "septet.Measured.v4", "septet.Measured.v1x"):
        assert not is_readable(name)
        with pytest.raises(UnknownMessage):
            decode(name, body)


@pytest.mark.usefixtures("third")
@pytest.mark.parametrize(
    "changed",
    [
        {"length": "long"},
        {"length": None},
        {"length": []},
        {"unit": "ell"},
        {"unit": {}},
        {"unit": ["cm"]},
        {"actor": 7},
    ],
)
def test_an_old_body_that_is_not_what_its_name_says_is_a_bad_message(
    changed: dict[str, Any],
) -> None:
    """Upcasters see what nobody has checked, and no poison may end a consumer."""
    body = from_json(encode(ENVELOPES[0][1])) | changed
    with pytest.raises(BadMessage):
        decode(V1, to_json(body))
    body.pop("length")
    with pytest.raises(BadMessage):
        decode(V1, to_json(body))


@pytest.mark.usefixtures("first")
def test_an_upcaster_changes_neither_whom_a_message_concerns_nor_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = encode(ENVELOPES[0][1])
    upgrade(monkeypatch)
    upcasters.UPCASTERS[V1] = lambda _: {
        "millimetres": 1, "id": "forged", "account_id": "account-2", "actor": "admin", "at": "never"
    }  # fmt: skip
    assert decode(V1, body).model_dump() == ENVELOPES[0][1].model_dump()


@pytest.mark.usefixtures("first")
def test_what_was_stored_stays_as_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store, relay and topic have the original name and bytes; readers get the current class."""
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(tmp_path / "store.db"),
    }
    older = Store({**environment, "CREATE_TABLE": "yes"})
    envelope = ENVELOPES[0][1]
    older.append([Recorded("site-1", 1, envelope)])
    older.close()
    upgrade(monkeypatch)
    newer = Store(environment)
    current = MeasuredV3(size=Size(width=120), by="key-7")
    newer.append([Recorded("site-1", 2, said(current).model_copy(update={"id": "msg-2"}))])
    assert [one.envelope.message for one in newer.read("site-1")] == [current, current]
    old, new = newer.stored()
    assert (old.name, old.body, new.name) == (V1, encode(envelope), V3)
    (record,) = published(old.placed, old.name, old.body)
    assert (record.topic, record.value) == (RUN_EVENTS, encode(envelope))
    assert record.header("ce_type") == V1
    assert read_placed(record).envelope.message == current
    newer.close()


@pytest.mark.usefixtures("third")
def test_an_upcaster_is_entered_once_under_a_wire_name() -> None:
    with pytest.raises(ValueError, match="has two upcasters"):
        upcasts(V1)(dict)
    for name in ("RunPaused", "septet.RunPaused", "septet.RunPaused.v", "septet.RunPaused.vx"):
        with pytest.raises(ValueError, match="is no wire name"):
            upcasts(name)
    assert following("septet.RunPaused.v9") == "septet.RunPaused.v10"


def test_every_upcaster_leads_to_a_message_of_this_release() -> None:
    for name in UPCASTERS:
        assert name not in KNOWN, f"{name} has an upcaster, so its class is of no use"
        assert is_readable(name)


def test_a_message_has_one_current_version() -> None:
    assert len({bare_name(name) for name in KNOWN}) == len(KNOWN)
