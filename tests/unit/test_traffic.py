"""How answers are counted that name another release than the one in service."""

from __future__ import annotations

import httpx
import pytest

from tests.traffic import Answer, Traffic

STEPS = [(0.0, 10.0, "a"), (11.0, 20.0, "b"), (21.0, 30.0, "a")]


@pytest.mark.parametrize(
    ("sent_at", "ended_at", "release", "wrong"),
    [
        (1, 2, "a", 0),
        (1, 2, "b", 1),
        (9, 12, "b", 0),
        (9, 12, "x", 1),
        (10.5, 12, "b", 0),
        (12, 13, "a", 1),
        (19, 22, "a", 0),
        (22, 40, "b", 1),
    ],
)
def test_an_answer_is_wrong_where_its_release_was_not_in_service(
    sent_at: float, ended_at: float, release: str, wrong: int
) -> None:
    traffic = Traffic(httpx.AsyncClient(), {})
    traffic.answers = [Answer(sent_at=sent_at, ended_at=ended_at, status=200, release=release)]
    assert (traffic.wrong(STEPS), traffic.failed()) == (wrong, 0)
    traffic.answers = [Answer(sent_at=sent_at, ended_at=ended_at, status=0, release="")]
    assert (traffic.wrong(STEPS), traffic.failed()) == (0, 1)
