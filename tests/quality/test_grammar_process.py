"""The grammar checker in its own process: whatever it does, the caller goes on."""

from collections.abc import Iterator

import pytest

from services.stage_workers.quality.grammar import Hint, Unchecked
from services.stage_workers.quality.grammar_process import PATIENCE, GrammarProcess

BAD = "tests.quality.misbehaving"


@pytest.fixture
def bad() -> Iterator[GrammarProcess]:
    checker = GrammarProcess(module=BAD)
    yield checker
    checker.close()


def test_the_real_checker_finds_mistakes_and_leaves_names_alone():
    checker = GrammarProcess(seconds=60)
    try:
        found = checker("This is an test of the the jar. Septet and Zyxwv are names.")
        assert [hint.text for hint in found] == ["an", "the the"]
        assert checker("The jar stands in the fridge.") == ()
    finally:
        checker.close()


def test_matters_of_spelling_are_left_out(bad: GrammarProcess):
    assert bad("text") == (Hint("text", "a"),)


def test_after_a_crash_it_is_started_again(bad: GrammarProcess):
    for _ in range(PATIENCE - 1):
        with pytest.raises(Unchecked, match="has crashed"):
            bad("crash")
    assert bad("text") == (Hint("text", "a"),)


def test_an_error_is_told_by_its_name_and_not_with_the_text(bad: GrammarProcess):
    for _ in range(PATIENCE + 1):
        with pytest.raises(Unchecked, match=r"with RuntimeError$"):
            bad("raise")
    assert bad("text") == (Hint("text", "a"),)


def test_one_that_hangs_is_ended():
    checker = GrammarProcess(seconds=60, module=BAD)
    assert checker("text")
    checker._seconds = 0.2
    with pytest.raises(Unchecked, match="in time"):
        checker("hang")
    assert checker._process is None


def test_one_that_fails_again_and_again_is_asked_no_more(bad: GrammarProcess):
    for _ in range(PATIENCE):
        with pytest.raises(Unchecked):
            bad("crash")
    with pytest.raises(Unchecked, match="has failed 3 times"):
        bad("text")


def test_without_a_checker_it_says_so():
    checker = GrammarProcess(module="there_is_no_such_module")
    with pytest.raises(Unchecked, match="there is no checker"):
        checker("text")
    checker.close()


def test_a_caller_does_not_wait_for_ever_behind_another():
    checker = GrammarProcess(seconds=0.05)
    with checker._lock, pytest.raises(Unchecked, match="busy"):
        checker("text")
