"""Keeps a folder of all approved articles, by listening to `septet.run-events`.

It knows nothing of Septet but its topic and its HTTP API. Run it with `python mirror.py`; the
README says which variables it reads.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from articles import KeyRefused, NotThere, Septet, TryAgain, write
from inbox import ANY_APPROVED, APPROVED, Event, Inbox, digest_of

logger = logging.getLogger("mirror")

TOPIC = "septet.run-events"
NOTHING = bytes(32)  # stands for a hash over nothing
LOOK_EVERY = 0.5  # seconds between looks for articles to download
LONGEST_WAIT = 60.0  # seconds between two tries of one article
GIVE_UP_AFTER = 12  # answers that an article is not there


@dataclass(frozen=True)
class Settings:
    brokers: str
    group: str
    url: str
    key: str
    folder: Path
    compare_every: float  # seconds between comparisons with the API's list


def settings() -> Settings:
    """Read the environment. Raises SystemExit with what is missing."""
    wanted = ("KAFKA_BOOTSTRAP_SERVERS", "SEPTET_API_URL", "SEPTET_API_KEY")
    if missing := [name for name in wanted if not os.getenv(name)]:
        raise SystemExit(f"set {', '.join(missing)}: see README.md")
    return Settings(
        brokers=os.getenv("KAFKA_BOOTSTRAP_SERVERS", ""),
        group=os.getenv("KAFKA_GROUP", "article-mirror"),
        url=os.getenv("SEPTET_API_URL", ""),
        key=os.getenv("SEPTET_API_KEY", ""),
        folder=Path(os.getenv("MIRROR_FOLDER", "articles")),
        compare_every=float(os.getenv("MIRROR_COMPARE_SECONDS", "60")),
    )


# --- from records to the inbox


def event_in(record: Any) -> Event | None:
    """Return the event in a record, none when it is not one: that is not ours to repair."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    name, position = headers.get("ce_type", ""), headers.get("ce_position", "")
    if "ce_id" not in headers or not position.isdecimal():
        logger.warning("no event at %s/%s", record.partition, record.offset)
        return None
    body = record.value or b""
    return Event(
        id=headers["ce_id"],
        type=name,
        account_id=headers.get("ce_accountid", ""),
        key=(record.key or b"").decode("utf-8", "replace"),
        position=int(position),
        chain=hash_in(headers.get("ce_chain")),
        unseen=hash_in(headers.get("ce_chainunseen")) or NOTHING,
        digest=digest_of(name, body),
        body=body if name.startswith(ANY_APPROVED) else b"",
        content_id=approved_in(name, body),
    )


def hash_in(text: str | None) -> bytes | None:
    """Return the 32 bytes that a header says in hex, none when it says none."""
    try:
        found = bytes.fromhex(text or "")
    except ValueError:
        return None
    return found if len(found) == len(NOTHING) else None


def approved_in(name: str, body: bytes) -> str | None:
    """Return which article an event approves, none for any other event.

    Types that this program does not know are not its business, and fields that it does not know
    change nothing. A newer version of the one type that matters waits until it is known here.
    """
    if name != APPROVED:
        return None
    try:
        return str(json.loads(body)["content_id"])
    except (ValueError, LookupError, TypeError):
        logger.warning("an approval without an article")
        return None


async def listen(chosen: Settings, inbox: Inbox, account_id: str, stop: asyncio.Event) -> None:
    """Take every event into the inbox, whatever happens to the broker meanwhile."""
    while not stop.is_set():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=chosen.brokers,
            group_id=chosen.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            # Subscribing to a topic that is not there could make one, with other partitions.
            while TOPIC not in await consumer.topics() and not stop.is_set():
                await asyncio.sleep(1)
            consumer.subscribe([TOPIC])
            await listen_once(consumer, inbox, account_id, stop)
        except (KafkaError, OSError, TimeoutError) as error:
            logger.warning("the broker is away: %r", error)
            await asyncio.sleep(1)
        finally:
            await consumer.stop()


async def listen_once(consumer: Any, inbox: Inbox, account_id: str, stop: asyncio.Event) -> None:
    while not stop.is_set():
        found = await consumer.getmany(timeout_ms=500)
        events = [event_in(record) for records in found.values() for record in records]
        mine = [event for event in events if event and event.account_id == account_id]
        opened = await asyncio.to_thread(inbox.take, mine)
        if found:
            await consumer.commit()  # only now: what a kill repeats, the inbox knows
        if opened:
            # Nothing is missing from the topic, so what we have not seen is there to be read.
            logger.error("%s gaps: reading the topic again from its beginning", opened)
            await consumer.seek_to_beginning()


# --- from the inbox to files


async def download(chosen: Settings, inbox: Inbox, septet: Septet, stop: asyncio.Event) -> None:
    """Download what is wanted, one after the other, until it is there."""
    while not stop.is_set():
        for content_id in await asyncio.to_thread(inbox.due):
            if stop.is_set():
                return
            await download_one(chosen, inbox, septet, stop, content_id)
        await sleep(stop, LOOK_EVERY)


async def download_one(
    chosen: Settings, inbox: Inbox, septet: Septet, stop: asyncio.Event, content_id: str
) -> None:
    try:
        article, images = await septet.article(content_id)
    except TryAgain as error:
        tries = await asyncio.to_thread(inbox.later, content_id, error.after or 1.0, str(error))
        wait = error.after if error.after is not None else min(2.0**tries, LONGEST_WAIT)
        logger.warning("%s: again in %g s: %s", content_id, wait, error)
        await sleep(stop, wait)  # it is Septet that is busy, so the others wait too
        return
    except NotThere:
        tries = await asyncio.to_thread(inbox.later, content_id, 5.0, "not there")
        if tries >= GIVE_UP_AFTER:
            logger.warning("%s does not exist", content_id)
            await asyncio.to_thread(inbox.settle, content_id, "gone", "not there")
        return
    if article["body"] is None:
        await asyncio.to_thread(inbox.settle, content_id, "gone", "erased")
        return
    path = await asyncio.to_thread(write, chosen.folder, article, images)
    await asyncio.to_thread(inbox.settle, content_id, "done", str(path))
    logger.info("%s -> %s", content_id, path)


# --- what the topic should have said


async def compare(chosen: Settings, inbox: Inbox, septet: Septet, stop: asyncio.Event) -> None:
    """Ask the API now and then what is approved: an article whose event has not come is a gap.

    What is unknown at two looks in a row is missed, and downloaded all the same.
    """
    unknown = set[str]()
    while not stop.is_set():
        await sleep(stop, chosen.compare_every)
        try:
            approved = {content_id async for content_id in septet.approved()}
        except (TryAgain, NotThere) as error:
            logger.warning("cannot compare now: %s", error)
            continue
        missing = approved - await asyncio.to_thread(inbox.known)
        for content_id in missed if (missed := missing & unknown) else ():
            logger.error("%s is approved, and no event has said so", content_id)
        await asyncio.to_thread(inbox.want, missed)
        unknown = missing - missed


async def sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


# --- the program


async def run(chosen: Settings, inbox: Inbox) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    septet = Septet(chosen.url, chosen.key)
    try:
        account_id = await whose(septet, stop)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen(chosen, inbox, account_id, stop))
            tasks.create_task(download(chosen, inbox, septet, stop))
            tasks.create_task(compare(chosen, inbox, septet, stop))
    finally:
        await septet.close()


async def whose(septet: Septet, stop: asyncio.Event) -> str:
    """Return the key's account: the topic has those of others too."""
    while not stop.is_set():
        try:
            return await septet.account_id()
        except TryAgain as error:
            logger.warning("Septet does not answer: %s", error)
            await sleep(stop, error.after or 1.0)
    return ""


def read_newer(inbox: Inbox) -> None:
    """Read what an older release of this program put aside and this one knows."""
    for id_, name, body in inbox.newer():
        content_id = approved_in(name, body)
        if content_id is not None:
            inbox.read_at_last(id_, content_id)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if sys.argv[1:] == ["--status"]:
        inbox = Inbox(Path(os.getenv("MIRROR_FOLDER", "articles")) / "mirror.db")
        sys.stdout.write(json.dumps(inbox.counts()) + "\n")
        return
    chosen = settings()
    inbox = Inbox(chosen.folder / "mirror.db")
    try:
        read_newer(inbox)
        asyncio.run(run(chosen, inbox))
    except* KeyRefused as refused:
        sys.exit(f"the API key is refused: {refused.exceptions[0]}")
    finally:
        inbox.close()


if __name__ == "__main__":
    main()
