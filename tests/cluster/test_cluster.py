"""Brokers of three are killed: one costs nothing, two stop the writing, and nothing is lost."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from events.topics import RUN_EVENTS, TOPICS, published
from services.orchestrator.store import open_store
from tests.engines.cluster import Cluster
from tests.system.septet import KEYWORDS, Septet, wait_for

WORDS = KEYWORDS[:5]
SMALL = {f"stage_{number}_batch_size": 1 for number in range(1, 7)}
LATER = 120.0  # seconds; leaders are elected anew, groups join anew, on a busy machine


def described(cluster: Cluster) -> dict[str, list[Any]]:
    """Return the partitions of our topics, as the brokers that live describe them."""

    async def ask() -> list[Any]:
        client = AIOKafkaAdminClient(bootstrap_servers=cluster.address)
        await client.start()
        try:
            return await client.describe_topics()
        finally:
            await client.close()

    names = {topic.name for topic in TOPICS}
    return {one["topic"]: one["partitions"] for one in asyncio.run(ask()) if one["topic"] in names}


def everyone_has_all(cluster: Cluster) -> bool:
    found = described(cluster)
    return all(len(place["isr"]) == 3 for places in found.values() for place in places)


def leader_of_a_run_events_partition(cluster: Cluster) -> int:
    leaders = [int(place["leader"]) for place in described(cluster)[RUN_EVENTS]]
    return max(leaders, key=leaders.count)


def in_the_middle(septet: Septet, run_id: str) -> None:
    def begun() -> bool:
        run = septet.run(run_id)
        return (run["current_stage"] or 0) > 1 or run["stages"][0]["items_done"] >= 1

    wait_for(f"{run_id} is in the middle", begun, LATER)


def stored(septet: Septet) -> dict[str, list[tuple[int, str]]]:
    """Return position and id of every event that is to be public, per key in the store's order."""
    store = open_store(septet.settings)
    found = defaultdict(list)
    try:
        for one in store.stored():
            for record in published(one.placed, one.name, one.body):
                if record.topic == RUN_EVENTS:
                    found[one.placed.key].append((one.placed.position, one.placed.envelope.id))
    finally:
        store.close()
    return found


def on_topic(septet: Septet) -> dict[str, list[tuple[int, str]]]:
    """Return the same of the topic, in its order; what is there twice stands where it was first."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    seen = set()
    for record in septet.records(RUN_EVENTS):
        assert record.key is not None
        place = (int(record.header("ce_position") or ""), record.header("ce_id") or "")
        if place not in seen:
            seen.add(place)
            found[record.key.decode()].append(place)
    return found


def assert_nothing_is_lost(septet: Septet) -> None:
    septet.check()
    wait_for("the topic has the store", lambda: on_topic(septet) == stored(septet), within=30)


@pytest.mark.parametrize("role", ["controller", "leader", "the third"])
def test_a_killed_broker_costs_nothing(septet: Septet, cluster: Cluster, role: str):
    wait_for("every broker has all", lambda: everyone_has_all(cluster), LATER)
    controller, leader = cluster.controller, leader_of_a_run_events_partition(cluster)
    others = sorted(set(cluster.brokers) - {controller, leader})
    victim = {"controller": controller, "leader": leader, "the third": others[-1]}[role]
    runs = [septet.start_run(septet.new_site(WORDS, **SMALL)) for _ in range(2)]
    in_the_middle(septet, runs[0])
    cluster.kill(victim)
    try:
        for run_id in runs:
            septet.whole(run_id, len(WORDS), within=LATER)
        again = septet.start_run(septet.new_site(WORDS))
        septet.whole(again, len(WORDS), within=LATER)
    finally:
        cluster.start(victim)
    assert_nothing_is_lost(septet)


def test_without_two_brokers_commands_wait_and_then_all_goes_on(septet: Septet, cluster: Cluster):
    wait_for("every broker has all", lambda: everyone_has_all(cluster), LATER)
    sites = [septet.new_site(WORDS, **SMALL) for _ in range(3)]
    run_id = septet.start_run(sites[0])
    in_the_middle(septet, run_id)
    cluster.kill(1, 2)
    asked: list[tuple[str, Any]] = []
    try:
        for site in sites[1:]:
            answer = septet.call(
                "POST",
                "/automation/run_now",
                params={"site_id": site},
                headers={"Idempotency-Key": f"now-{site}"},
            )
            asked.append((site, answer))
            assert answer.status_code in (202, 503), answer.text
            if answer.status_code == 202:
                assert answer.json()["status"] == "pending"
            else:
                assert answer.json()["code"] == "unavailable"
        assert septet.run(run_id)["run_id"] == run_id  # what is known can be read
    finally:
        cluster.start(1, 2)

    for site, answer in asked:
        if answer.status_code == 202:
            command = answer.json()["command_id"]
            wait_for(f"{command} has its outcome", lambda: _accepted(septet, command), LATER)  # noqa: B023
        else:  # nothing was sent, so the same request is free to be made again
            wait_for("it is taken", lambda: _taken(septet, site), LATER)  # noqa: B023
        [run] = septet.get("/automation/history", site_id=site)["runs"]
        septet.whole(run["run_id"], len(WORDS), within=LATER)
    septet.whole(run_id, len(WORDS), within=LATER)
    assert_nothing_is_lost(septet)


def _accepted(septet: Septet, command: str) -> bool:
    status = septet.get(f"/commands/{command}")["status"]
    assert status in ("pending", "accepted")
    return bool(status == "accepted")


def _taken(septet: Septet, site: str) -> bool:
    headers = {"Idempotency-Key": f"now-{site}"}
    answer = septet.call("POST", "/automation/run_now", params={"site_id": site}, headers=headers)
    return bool(answer.status_code == 202 and "run_id" in answer.json())
