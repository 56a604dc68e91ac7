"""`septet config` against an API of canned answers: types, mistakes, and when the next run is."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from events.config import Config
from tests.cli.conftest import Api, error_of

Septet = Callable[..., Result]

CONFIG = {
    "site_id": "site-1",
    **Config(timezone="Europe/Berlin").model_dump(mode="json"),
    "last_run_at": "2026-07-01T00:00:00.000000Z",
    "next_run_at": None,
}
ENABLED = CONFIG | {"is_enabled": True, "next_run_at": "2026-11-22T01:00:00.000000Z"}


def facts_of(result: Result) -> dict[str, str]:
    pairs = (line.partition("  ") for line in result.stdout.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def test_times_are_shown_in_the_zone_of_the_schedule_and_in_utc(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/config", ENABLED, ENABLED, CONFIG)
    shown = facts_of(septet("config", "show", "--site", "site-1"))
    assert shown["next run"] == "2026-11-22 02:00 Europe/Berlin, 2026-11-22 01:00 UTC"
    assert shown["last run"] == "2026-07-01 02:00 Europe/Berlin, 2026-07-01 00:00 UTC"
    assert (shown["is_enabled"], shown["schedule_weekday"]) == ("true", "0 (Monday)")
    as_json = septet("config", "show", "--site", "site-1", "--output", "json")
    assert json.loads(as_json.stdout) == ENABLED
    off = facts_of(septet("config", "show", "--site", "site-1"))
    assert off["next run"] == "none, as the schedule is off. Turn it on with is_enabled=true"


def test_banned_words_are_a_list_by_commas(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/config", CONFIG)
    words = ["game changer", "delve"]
    api.on("PUT", "/automation/update_config", CONFIG | {"banned_words": words})
    done = septet("config", "set", "banned_words=game changer, delve,", "--site", "site-1")
    assert json.loads(api.asked[-1].content) == {"banned_words": words}
    assert facts_of(done)["banned_words"] == "none -> game changer, delve"


def test_values_are_sent_with_the_types_of_the_config(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/config", CONFIG)
    api.on("PUT", "/automation/update_config", ENABLED | {"frequency": "weekly"})
    settings = ("is_enabled=yes", "frequency=weekly", "stage_1_batch_size=20")
    done = septet("config", "set", *settings, "--site", "site-1")
    assert json.loads(api.asked[-1].content) == {
        "is_enabled": True,
        "frequency": "weekly",
        "stage_1_batch_size": 20,
    }
    assert facts_of(done) == {
        "is_enabled": "false -> true",
        "frequency": "daily -> weekly",
        "stage_1_batch_size": "20, as it was",
        "next run": "2026-11-22 02:00 Europe/Berlin, 2026-11-22 01:00 UTC",
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("frequencey=daily",), "frequencey is not a setting. Is it frequency?"),
        (("zzz=1",), "zzz is not a setting. See septet config show"),
        (("=1",), "a setting without a name is not a setting. See septet config show"),
        (
            ("next_run_at=now",),
            "next_run_at cannot be set: it follows from the schedule and the runs",
        ),
        (("is_enabled",), "is_enabled: write it as NAME=VALUE"),
        (("is_enabled=maybe",), "is_enabled: maybe is neither true nor false"),
        (("schedule_day=first",), "schedule_day: first is not a whole number"),
        (("schedule_day=",), "schedule_day: nothing is not a whole number"),
        (("schedule_day=1", "schedule_day=2"), "schedule_day is given twice. Give it once"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    api: Api, septet: Septet, settings: tuple[str, ...], sentence: str
) -> None:
    api.on("GET", "/automation/config", CONFIG)
    done = septet("config", "set", *settings, "--site", "site-1")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {sentence}\n")
    assert [request.method for request in api.asked] == ["GET"]


def test_what_only_the_api_can_judge_is_its_own_sentence(api: Api, septet: Septet) -> None:
    api.on("GET", "/automation/config", CONFIG)
    wrong: dict[str, Any] = {"detail": "timezone: is not a time zone"}
    api.problem("PUT", "/automation/update_config", 400, "invalid_request", **wrong)
    setting = ("timezone=Mars/Base", "--site", "site-1", "--output", "json")
    done = septet("config", "set", *setting)
    assert (done.exit_code, error_of(done)["detail"]) == (2, "timezone: is not a time zone")
