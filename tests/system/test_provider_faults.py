"""A provider that limits, fails, refuses and garbles: real processes, and every credit is told."""

from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.providers.author import between
from tests.system.model_server import ModelServer, Reply, refusal, serving, well
from tests.system.septet import KEYWORDS, Septet, running, wait_for
from tests.system.sums import assert_sums_agree, calls_of

SOME = (*KEYWORDS[:2], *KEYWORDS[4:6])  # of two topics


@pytest.fixture(scope="module")
def provider() -> Iterator[ModelServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def septet(provider: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Septet]:
    """A Septet of its own, whose provider is ours."""
    with running(
        tmp_path_factory.mktemp("faults") / "data",
        SEPTET_AI_PROVIDER="openai",
        SEPTET_AI_BASE_URL=provider.url,
        SEPTET_AI_API_KEY="sk-of-the-tests",
        SEPTET_AI_TEXT_MODEL="gpt-4o-mini",
        SEPTET_BATCH_TIMEOUT_SECONDS="60",
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def well_again(provider: ModelServer) -> Iterator[None]:
    provider.forget()
    yield
    provider.down()
    provider.forget()
    provider.up()


def completed(septet: Septet, provider: ModelServer, run_id: str, failed: int = 0) -> Any:
    """Return the run, completed: all that the provider told is in the log, and nothing twice."""
    septet.whole(run_id, len(SOME), within=90)
    run = septet.run(run_id)
    assert sum(stage["items_failed"] for stage in run["stages"]) == failed
    assert_sums_agree(septet, run_id)
    calls = calls_of(septet, run_id)
    asked = [call for call in calls if call["model"] == "gpt-4o-mini"]
    assert sum(call["tokens_in"] + call["tokens_out"] for call in asked) == provider.tokens
    answered = Counter(prompt for prompt, status in provider.asked if status == 200)
    assert max(answered.values()) == 1  # what was answered is not asked, and paid, again
    assert sum(call["tokens_out"] > 0 for call in asked) == answered.total() > 10
    assert all("@" in call["prompt"] and len(call["prompt_hash"]) == 64 for call in asked)
    septet.check()
    return run


def test_a_rate_limit_is_waited_for_and_no_item_fails(septet: Septet, provider: ModelServer):
    number = count()

    def behave(prompt: str) -> Reply | None:
        del prompt
        if next(number) in range(3, 6):
            return refusal(429, "rate_limit_exceeded", "Slow down.", Retry_After="3")
        return None

    provider.behave = behave
    run_id = septet.start_run(septet.new_site(SOME))
    completed(septet, provider, run_id)
    assert Counter(status for _, status in provider.asked)[429] > 0


def test_a_run_goes_on_when_a_provider_that_went_down_is_back(
    septet: Septet, provider: ModelServer
):
    run_id = septet.start_run(septet.new_site(SOME))
    wait_for("something is written", lambda: len(provider.asked) > 6)
    provider.down()

    def rests() -> list[Any]:
        timers = [one for one in septet.events(run_id) if one["type"] == "TimerSet"]
        return [one for one in timers if one["data"]["purpose"] == "provider"]

    wait_for("the run rests", rests)
    waiting = wait_for("it says so", lambda: _waiting(septet.run(run_id)))
    assert waiting["status"] == "running"
    assert "does not answer" in waiting["waiting_for"]
    provider.up()
    completed(septet, provider, run_id)
    assert septet.run(run_id)["waiting_until"] is None


def _waiting(run: Any) -> Any:
    return run if run["waiting_until"] else None


@pytest.mark.parametrize(
    ("refused", "reason", "says"),
    [
        (
            refusal(401, "invalid_api_key", "Incorrect API key provided: sk-of-the-tests."),
            "provider_key_refused",
            "key",
        ),
        (
            refusal(429, "insufficient_quota", "You exceeded your current quota."),
            "provider_out_of_credits",
            "credit",
        ),
    ],
)
def test_a_run_pauses_until_a_person_has_acted_and_then_does_exactly_the_rest(
    septet: Septet, provider: ModelServer, refused: Reply, reason: str, says: str
):
    provider.behave = lambda prompt: refused if "Now write" in prompt else None
    run_id = septet.start_run(septet.new_site(SOME))
    wait_for("it pauses", lambda: septet.run(run_id)["status"] == "paused")
    wait_for("it is quiet", lambda: septet.run(run_id)["batches_in_flight"] == 0)
    paused = septet.run(run_id)
    assert paused["pause_reason"] == reason
    told = paused["error_message"]
    assert says in told
    assert "sk-of-the-tests" not in told
    done = {
        outcome["item"]
        for event in septet.events(run_id)
        if event["type"] == "StageBatchCompleted" and event["data"]["stage"] == 4
        for outcome in event["data"]["outcomes"]
    }
    assert done == set()
    provider.behave = well
    septet.post("/automation/resume", run_id=run_id)
    run = completed(septet, provider, run_id)
    assert run["stages"][3]["items_done"] == run["stages"][2]["items_done"]


def test_an_item_that_gets_the_wrong_shape_fails_alone(septet: Septet, provider: ModelServer):
    def behave(prompt: str) -> Reply | None:
        is_one = "Suggest " in prompt and "espresso" in str(between(prompt, "keywords"))
        return Reply(200, "Certainly! Here they are, but not as JSON.") if is_one else None

    provider.behave = behave
    run_id = septet.start_run(septet.new_site(SOME))
    run = completed(septet, provider, run_id, failed=1)
    ideas = run["stages"][1]
    assert (ideas["status"], ideas["items_failed"]) == ("partial", 1)
    assert run["stages"][6]["items_done"] == ideas["items_done"] >= 1
    failed = [call for call in calls_of(septet, run_id) if call["status"] == "failed"]
    assert len(failed) == 2
    assert all(min(call["tokens_out"], call["credits"]) > 0 for call in failed)


def test_the_log_of_all_this_keeps_every_promise(septet: Septet):
    septet.check()
