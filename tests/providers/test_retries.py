import asyncio
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from services.stage_workers.ai.retries import Transient, pause_after, persist, wait_told

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "999999999"}, 3600),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:42 GMT"}, 42),
        ({"retry-after": "Sunday, 22-Nov-26 10:00:42 GMT"}, 42),
        ({"retry-after": "Sun Nov 22 10:00:42 2026"}, 42),
        ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT"}, 0),
        ({"retry-after": "Sun, 22 Nov 2099 09:00:00 GMT"}, 3600),
        ({"retry-after": "Sun, 99 Nov 2026 09:00:00 GMT"}, None),
    ],
)
def test_how_long_a_provider_wants_to_be_left_alone(headers: dict[str, str], seconds: float | None):
    assert wait_told(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("failures", "least"), [(1, 0.25), (2, 0.5), (3, 1.0), (5, 4.0), (40, 4.0)]
)
def test_pauses_grow_and_differ(failures: int, least: float):
    assert pause_after(failures, lambda: 0.0) == least
    assert pause_after(failures, lambda: 1.0) == 2 * least


def test_who_was_answered_before_a_provider_went_down_does_not_blame_the_request():
    class Turns:
        answers = 0
        judged: ClassVar[list[tuple[int, int]]] = []

        async def take(self, attempt: object) -> None:  # noqa: ARG002
            self.answers = 7  # others, while this request was under way
            raise Transient("refused", "request")

        async def pause(self, seconds: float) -> None: ...

        def given_up(self, failure: Transient, failures: int, since: int) -> Exception | None:  # noqa: ARG002
            self.judged.append((failures, since))
            return TimeoutError() if failures == 3 else None

        def halted_by_limit(self, *, at_last: bool) -> Exception | None:  # noqa: ARG002
            return None

    with pytest.raises(TimeoutError):
        asyncio.run(persist(asyncio.sleep, Turns(), lambda: 0.0))  # type: ignore[arg-type]
    assert Turns.judged == [(1, 0), (2, 7), (3, 7)]
