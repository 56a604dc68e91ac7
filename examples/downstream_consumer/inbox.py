"""What has been seen and what is still to do, in one SQLite file: it survives any kill."""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

APPROVED = "septet.ContentApproved.v1"
ANY_APPROVED = "septet.ContentApproved."

TABLES = """
CREATE TABLE IF NOT EXISTS seen (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, position INTEGER NOT NULL,
    chain BLOB, unseen BLOB, digest BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_places ON seen (key, position);
CREATE TABLE IF NOT EXISTS gaps (
    key TEXT, position INTEGER, PRIMARY KEY (key, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS articles (
    content_id TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'wanted',
    tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, told TEXT);
CREATE TABLE IF NOT EXISTS newer (id TEXT PRIMARY KEY, type TEXT NOT NULL, body BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Event:
    """A record of the topic: its CloudEvents headers and its JSON body.

    `position` is its place in Septet's store, rising per key. `chain` is the hash over all that
    its key's history has up to it, `unseen` that over what stands before it and is published
    nowhere: where they are sent, they tell whether an event before it is missing.
    """

    id: str
    type: str
    account_id: str
    key: str
    position: int
    chain: bytes | None
    unseen: bytes
    digest: bytes
    body: bytes
    content_id: str | None = None


def digest_of(name: str, body: bytes) -> bytes:
    """Return the hash of an event as Septet's docs/audit.md has it."""
    named = name.encode()
    return sha256(len(named).to_bytes(4, "big") + named + body).digest()


def first_of(key: str) -> bytes:
    """Return the head of a key of which nothing has been said yet."""
    return sha256(b"septet.chain.v1\n" + key.encode()).digest()


class Inbox:
    """Kafka's offsets are committed only after `take`, and a download is `done` only as a file."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(TABLES)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def take(self, events: Iterable[Event]) -> int:
        """Write down what is new, all or nothing, and return how many gaps this opened.

        An event that has been seen changes nothing: it may be published twice, and all of them are
        published again to a broker that lost its data.
        """
        opened = 0
        with self._writing() as db:
            for event in events:
                row = (event.id, event.key, event.position, event.chain, event.unseen, event.digest)
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?, ?, ?)", row)
                if not new.rowcount:
                    continue
                opened += self._look_for_gaps(db, event.key, event.position)
                if event.content_id is not None:
                    self._want(db, event.content_id)
                elif event.type.startswith(ANY_APPROVED) and event.type != APPROVED:
                    row = (event.id, event.type, event.body)
                    db.execute("INSERT OR IGNORE INTO newer VALUES (?, ?, ?)", row)
        return opened

    def _look_for_gaps(self, db: sqlite3.Connection, key: str, position: int) -> int:
        """Check the links to and from a new event; a gap is the event before which one is missing.

        Returns how many gaps this opened.
        """
        asked = "SELECT position FROM seen WHERE key = ? AND position > ? ORDER BY position LIMIT 1"
        following = db.execute(asked, (key, position)).fetchone()
        opened = 0
        for place in (position, *(following or ())):
            if self._is_linked(db, key, place):
                db.execute("DELETE FROM gaps WHERE key = ? AND position = ?", (key, place))
            else:
                gap = db.execute("INSERT OR IGNORE INTO gaps VALUES (?, ?)", (key, place))
                opened += gap.rowcount
        return opened

    def _is_linked(self, db: sqlite3.Connection, key: str, position: int) -> bool:
        """Tell whether an event follows the one that was seen before it, or does not say."""
        asked = "SELECT chain, unseen, digest FROM seen WHERE key = ? AND position = ?"
        chain, unseen, digest = db.execute(asked, (key, position)).fetchone()
        asked = (
            "SELECT chain FROM seen WHERE key = ? AND position < ? ORDER BY position DESC LIMIT 1"
        )
        known = db.execute(asked, (key, position)).fetchone()
        before = known[0] if known else first_of(key)
        if chain is None or before is None:  # said by a release that did not know of heads
            return True
        return bool(sha256(before + unseen + digest).digest() == chain)

    def _want(self, db: sqlite3.Connection, content_id: str) -> None:
        db.execute("INSERT OR IGNORE INTO articles (content_id) VALUES (?)", (content_id,))

    def want(self, content_ids: Iterable[str]) -> None:
        """Put articles on the list whose event never came."""
        with self._writing() as db:
            for content_id in content_ids:
                self._want(db, content_id)

    def newer(self) -> list[tuple[str, str, bytes]]:
        """Return approvals in a version that this program could not read: id, type and body."""
        with self._lock:
            return self._db.execute("SELECT id, type, body FROM newer").fetchall()

    def read_at_last(self, id_: str, content_id: str) -> None:
        """An approval that an older release of this program could not read has been read."""
        with self._writing() as db:
            self._want(db, content_id)
            db.execute("DELETE FROM newer WHERE id = ?", (id_,))

    def due(self) -> list[str]:
        """Return the articles to download now, those that waited longest first."""
        with self._lock:
            asked = "SELECT content_id FROM articles WHERE state = 'wanted' AND due <= ? "
            rows = self._db.execute(asked + "ORDER BY due, rowid LIMIT 50", (time.time(),))
            return [content_id for (content_id,) in rows]

    def known(self) -> set[str]:
        """Return every article that is done, wanted or gone."""
        with self._lock:
            return {row[0] for row in self._db.execute("SELECT content_id FROM articles")}

    def later(self, content_id: str, after: float, why: str) -> int:
        """Try an article again after so many seconds; return how often that has been said."""
        with self._writing() as db:
            change = "UPDATE articles SET tries = tries + 1, due = ?, told = ? WHERE content_id = ?"
            db.execute(change, (time.time() + after, why, content_id))
            asked = "SELECT tries FROM articles WHERE content_id = ?"
            return int(db.execute(asked, (content_id,)).fetchone()[0])

    def settle(self, content_id: str, state: str, told: str) -> None:
        """An article is `done` (its file is there) or `gone` (it never will be)."""
        with self._writing() as db:
            change = "UPDATE articles SET state = ?, told = ? WHERE content_id = ?"
            db.execute(change, (state, told, content_id))

    def counts(self) -> dict[str, int]:
        """Return how many events were seen, articles stand where, and gaps are open."""
        questions: Sequence[tuple[str, str]] = (
            ("seen", "SELECT count(*) FROM seen"),
            *((s, f"SELECT count(*) FROM articles WHERE state = '{s}'") for s in STATES),
            ("newer", "SELECT count(*) FROM newer"),
            ("gaps", "SELECT count(*) FROM gaps"),
        )
        with self._lock:
            return {name: self._db.execute(asked).fetchone()[0] for name, asked in questions}

    def close(self) -> None:
        with self._lock:
            self._db.close()


STATES = ("wanted", "done", "gone")
