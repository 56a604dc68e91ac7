"""The table of faults: what is done to Septet, and what is expected of it."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx

from events.topics import COMMANDS, RUN_EVENTS, STAGE_REPORTS, Record, stage_topic
from tests.chaos.clients import Said, ask
from tests.chaos.proxy import SOUND, Network
from tests.chaos.scenario import Scenario
from tests.chaos.world import SERVICES, World
from tests.system.septet import KEYWORDS, ON_REAL_ENGINES

Inject = Callable[[World], None]

# Longer than a group waits for a member: the others take its partitions, and it comes back.
ZOMBIE = 14.0 if ON_REAL_ENGINES else 5.0  # seconds
HELD = 8.0  # seconds that a bad network, a wrong clock or a full disk lasts
AT_ONCE = 2_000  # records

TOPICS = (COMMANDS, STAGE_REPORTS, RUN_EVENTS, *(stage_topic(number) for number in range(1, 8)))


def nothing(_: World) -> None:
    """Let two seconds pass: what the numbers are without a fault."""
    time.sleep(2)


def kill(kind: str) -> Inject:
    """SIGKILL every process of this kind."""
    return lambda world: world.deployment.signal(signal.SIGKILL, kind)


def kill_all(world: World) -> None:
    """SIGKILL every process at once, the broker too."""
    world.deployment.signal(signal.SIGKILL)
    world.restart_broker(away=0)


def stop(kind: str) -> Inject:
    """SIGSTOP every process of this kind until others have its partitions, then SIGCONT."""

    def inject(world: World) -> None:
        world.deployment.signal(signal.SIGSTOP, kind)
        time.sleep(ZOMBIE)
        world.deployment.signal(signal.SIGCONT, kind)

    return inject


def stop_all(world: World) -> None:
    """SIGSTOP every process at once, the broker too."""
    world.deployment.signal(signal.SIGSTOP)
    with world.broker_stopped():
        time.sleep(ZOMBIE)
    world.deployment.signal(signal.SIGCONT)


def stop_broker(world: World) -> None:
    """SIGSTOP the broker for 20 seconds."""
    with world.broker_stopped():
        time.sleep(20)


def restart_broker(world: World) -> None:
    """SIGKILL the broker, and start it with its data three seconds later."""
    world.restart_broker(away=3)


def restart_database(number: signal.Signals) -> Inject:
    """Restart PostgreSQL, stopped by this signal."""
    return lambda world: world.restart_database(number)


def stop_database(world: World) -> None:
    """SIGSTOP PostgreSQL for 15 seconds."""
    with world.database_stopped():
        time.sleep(15)


def fill_disk(world: World) -> None:
    """Leave no room on the disk."""
    with world.disk_full():
        time.sleep(HELD)


def network(bad: Network, of: str) -> Inject:
    """Have a bad network between all services and the broker or the database."""

    def inject(world: World) -> None:
        world.set_network(bad, kafka=of == "broker", database=of == "database")
        time.sleep(HELD)
        world.set_network(SOUND, kafka=True, database=True)

    return inject


def cut(of: str) -> Inject:
    """Reset every connection to the broker or the database, again and again."""

    def inject(world: World) -> None:
        until = time.monotonic() + HELD
        while time.monotonic() < until:
            world.cut(kafka=of == "broker", database=of == "database")
            time.sleep(0.7)

    return inject


def clock(wrong_by: timedelta, *kinds: str) -> Inject:
    """Put the clocks of these services, or all, wrong for a while."""

    def inject(world: World) -> None:
        world.set_clock(wrong_by, *kinds)
        time.sleep(HELD)
        world.set_clock(timedelta(), *kinds)

    return inject


def storm(world: World) -> None:
    """Kill, end or stop one of several workers every 2 to 5 seconds."""
    chance = random.Random(world.seed)
    with world.more_workers("stage-worker-8", "stage-worker-9"):
        until = time.monotonic() + 25
        while time.monotonic() < until:
            process = chance.choice(world.deployment.matching("stage-worker"))
            number = chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))
            world.deployment.signal(number, process.name)
            time.sleep(chance.uniform(2, 5))
            if number is signal.SIGSTOP:
                world.deployment.signal(signal.SIGCONT, process.name)


def say_all_again(world: World) -> None:
    """Publish every record of all topics again, the newest first, then as they came."""
    everything = [record for topic in TOPICS for record in world.records(topic)]
    for again in (everything[::-1], everything):
        for start in range(0, len(again), AT_ONCE):
            world.publish(*again[start : start + AT_ONCE])


def garbage() -> Iterator[Record]:
    """Yield for every topic what is no message of ours, each in another way."""
    key = b"site-of-nobody"
    typed = (("ce_type", b"septet.RunRequested.v1"), ("ce_id", b"cmd-x"))
    whole = b'{"id":"cmd-y","account_id":"account-x","site_id":"site-x","at":"2026-01-01T00:00:00Z"'
    for topic in TOPICS:
        yield Record(topic, key, b"\xff\xfe not json", ())
        yield Record(topic, key, None, typed)
        yield Record(topic, None, b"null", typed)
        yield Record(topic, key, b"[" * 100_000, typed)
        yield Record(topic, key, b'{"at": NaN, "id": 1e999}', typed)
        yield Record(topic, key, whole, typed)
        yield Record(topic, key, whole + b"}", (*typed, ("ce_accountid", b"account-z")))
        yield Record(topic, key, whole + b"}", (("ce_type", b"septet.RunRequested.v99"),))
        yield Record(topic, key, whole + b"}", (("ce_type", b"\xff\x00"),))
        yield Record(topic, key, b"x" * 1_000_000, typed)


GARBAGE = tuple(garbage())


def throw_garbage(world: World) -> None:
    """Publish everything that is no message."""
    world.publish(*GARBAGE)


def kill_api_after_202(world: World) -> None:
    """Answer 202 pending while nobody decides; then only the API has the command, and is killed.

    The broker has lost it too when the orchestrator goes on.
    """
    site = world.new_site(KEYWORDS[:2])
    said = Said("the 202", "/automation/run_now", {"site_id": site}, None)
    world.said.append(said)
    world.deployment.signal(signal.SIGSTOP, "orchestrator")
    with httpx.Client(base_url=world.api.base_url, timeout=20) as http:
        said.answers.append(ask(http, world.key, said))
    world.deployment.signal(signal.SIGKILL, "api")
    assert said.answers[0].is_pending, said.answers
    world.lose_broker()
    world.deployment.signal(signal.SIGCONT, "orchestrator")


SLOW = Network(delay=0.1, jitter=0.2)
TORN = Network(tear_after=20_000)
HOLE = Network(mode="hole")
REFUSED = Network(mode="refuse")
LOST_ANSWERS = Network(lose_answers=0.1)

AGAIN = "started again; at most the batches in flight are done again, charged once"
ZOMBIES = "others or its own next life take over; what the zombie still says changes nothing"
UNAVAILABLE = "503 when nothing was sent, else 202 pending; then runs go on"
CLOCKS = "nothing is lost or done twice, and no run waits for a time that was wrong"

FAULTS = (
    Scenario("nothing", nothing, "the figures without a fault"),
    *(
        Scenario(f"{service} killed", kill(service), AGAIN, api_away=service == "api")
        for service in SERVICES
    ),
    Scenario("everything killed", kill_all, AGAIN, api_away=True),
    *(
        Scenario(f"{service} stopped", stop(service), ZOMBIES, api_away=service == "api")
        for service in SERVICES
    ),
    Scenario("everything stopped", stop_all, ZOMBIES, api_away=True),
    Scenario("broker emptied", World.lose_broker, "all is published again, runs go on"),
    Scenario("broker restarted", restart_broker, "consumers go on", on="real"),
    Scenario("broker stopped", stop_broker, UNAVAILABLE),
    Scenario("database restarted, fast", restart_database(signal.SIGINT), UNAVAILABLE, on="real"),
    Scenario(
        "database restarted, immediate", restart_database(signal.SIGQUIT), UNAVAILABLE, on="real"
    ),
    Scenario("database stopped", stop_database, UNAVAILABLE, on="real"),
    Scenario(
        "API killed after a 202",
        kill_api_after_202,
        "the command is sent again by the API's next life, and has its outcome",
        api_away=True,
    ),
    Scenario("workers come and go", storm, ZOMBIES),
    Scenario("everything said again", say_all_again, "changes nothing"),
    Scenario(
        "garbage on every topic",
        throw_garbage,
        "each piece is a dead letter, nothing else stands still",
        letters=len(GARBAGE),
    ),
    *(
        Scenario(
            f"{of}: connections {how}",
            inject,
            UNAVAILABLE,
            world="proxied",
            on="both" if of == "broker" else "real",
        )
        for of in ("broker", "database")
        for how, inject in (
            ("cut", cut(of)),
            ("slow", network(SLOW, of)),
            ("torn", network(TORN, of)),
            ("refused", network(REFUSED, of)),
            ("black-holed", network(HOLE, of)),
            ("with lost answers", network(LOST_ANSWERS, of)),
        )
    ),
    *(
        Scenario(
            f"clock of {' '.join(kinds) or 'everything'} {told}",
            clock(wrong_by, *kinds),
            CLOCKS,
            world="clock",
            needs=("cc",),
        )
        for told, wrong_by, *kinds in (
            ("2 h ahead", timedelta(hours=2), "orchestrator"),
            ("1 h behind", timedelta(hours=-1), "orchestrator"),
            ("30 d ahead", timedelta(days=30), "scheduler"),
            ("1 h behind", timedelta(hours=-1), "projector"),
            ("2 h ahead", timedelta(hours=2), "api"),
            ("30 d ahead", timedelta(days=30), "stage-worker"),
            ("2 h ahead", timedelta(hours=2)),
            ("1 h behind", timedelta(hours=-1)),
            ("30 d ahead", timedelta(days=30)),
        )
    ),
    Scenario("disk full", fill_disk, UNAVAILABLE, world="small", needs=("root",)),
)
