"""Which topics of others can be used: what would lose events, block them or move keys cannot."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from events.topic_settings import Layout, differences, sentence
from events.topics import RUN_EVENTS, TOPICS, Topic, copies_to_write

PUBLIC = next(topic for topic in TOPICS if topic.name == RUN_EVENTS)
COMMANDS = TOPICS[0]
OURS: Mapping[str, str] = MappingProxyType({})


def found(
    configs: Mapping[str, str] = OURS,
    *,
    partitions: int = 16,
    copies: int = 3,
    topic: Topic = PUBLIC,
) -> list[tuple[str, bool]]:
    layout = Layout(partitions, copies, {**topic.configs(3), **configs})
    return [(one.setting, one.stops) for one in differences(topic, layout, replication=3)]


@pytest.mark.parametrize(("copies", "needed"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_writing_needs_half_of_the_copies_and_the_odd_one(copies: int, needed: int):
    assert copies_to_write(copies) == needed
    assert PUBLIC.configs(copies)["min.insync.replicas"] == str(needed)


def test_the_public_topic_is_kept_for_ever_and_never_compacted():
    configs = PUBLIC.configs(3)
    assert (configs["retention.ms"], configs["retention.bytes"]) == ("-1", "-1")
    assert configs["cleanup.policy"] == "delete"


def test_what_we_would_have_made_is_no_difference():
    assert found() == []


@pytest.mark.parametrize(
    "configs",
    [
        {"cleanup.policy": "compact"},
        {"cleanup.policy": "delete,compact"},
        {"retention.ms": "99999999999999"},
        {"retention.bytes": "99999999999999"},
        {"min.insync.replicas": "1"},
        {"min.insync.replicas": "4"},
        {"max.message.bytes": "1000012"},
        {"unclean.leader.election.enable": "true"},
    ],
)
def test_what_would_lose_or_block_events_stops(configs: dict[str, str]):
    assert found(configs) == [(next(iter(configs)), True)]


@pytest.mark.parametrize(
    "configs",
    [{"cleanup.policy": ""}, {"min.insync.replicas": "3"}, {"max.message.bytes": "9000000"}],
)
def test_what_an_operator_may_choose_is_only_told(configs: dict[str, str]):
    assert found(configs) == [(next(iter(configs)), False)]


def test_longer_retention_is_only_told_and_shorter_stops():
    for longer in ("604800001", "-1"):
        assert found({"retention.ms": longer}, topic=COMMANDS) == [("retention.ms", False)]
    assert found({"retention.ms": "604799999"}, topic=COMMANDS) == [("retention.ms", True)]


def test_other_partitions_and_fewer_copies_stop_and_more_copies_are_told():
    assert found(partitions=15) == [("partitions", True)]
    assert found(partitions=17) == [("partitions", True)]
    assert found(copies=2) == [("replication", True)]
    assert found(copies=4) == [("replication", False)]


def test_what_costs_nothing_is_not_looked_at():
    assert found({"compression.type": "gzip", "segment.bytes": "1"}) == []


def test_the_line_names_topic_setting_what_it_is_what_it_must_be_and_what_to_do():
    wrong = Layout(16, 3, PUBLIC.configs(3) | {"retention.ms": "1"})
    assert sentence(differences(PUBLIC, wrong, 3), "kafka-1:9092") == (
        "septet.run-events: retention.ms is 1 and must be -1 (kafka-configs.sh --bootstrap-server "
        "kafka-1:9092 --alter --entity-type topics --entity-name septet.run-events "
        "--add-config retention.ms=-1)"
    )


def test_what_is_wrong_with_every_topic_is_said_once():
    wrong = [
        one
        for topic in TOPICS
        for one in differences(topic, Layout(topic.partitions, 1, topic.configs(3)), 3)
    ]
    line = sentence(wrong, "kafka-1:9092")
    assert line.startswith("every topic of Septet: replication is 1 and must be 3 (")
    assert "; every topic of Septet: min.insync.replicas" not in line
    assert "\n" not in line
