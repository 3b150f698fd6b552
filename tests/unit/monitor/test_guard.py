"""The outermost loop: what is told, how often, and what ends the daemon."""

from __future__ import annotations

import asyncio
import logging

import pytest

from monitor.errors import StoreBusy, StoreLost, StoreUnavailable
from monitor.guard import Guard


async def fails(error: Exception) -> None:
    raise error


async def goes_well() -> None:
    return None


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records]


async def test_a_fault_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()
    guard = Guard(stop)
    assert not await guard("tick", "prod", fails(ValueError("x")))
    assert await guard("tick", "prod", goes_well())
    assert (told(caplog), stop.is_set()) == (["tick_failed"], False)


async def test_a_store_that_is_away_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "alignd")
    seconds = 0.0
    guard = Guard(asyncio.Event(), steady=lambda: seconds)
    for _ in range(90):
        assert not await guard("reconcile", "incidents", fails(StoreUnavailable("away")))
        assert await guard("purge", "transcripts", goes_well()), "what asks no store says nothing of it"
        seconds += 1.0
    assert told(caplog) == ["store_unavailable"] * 2
    assert await guard("reconcile", "incidents", goes_well())
    assert await guard("reconcile", "incidents", goes_well())
    assert told(caplog)[2:] == ["store_back"]


async def test_a_store_that_can_only_be_read_is_not_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "alignd")
    guard = Guard(asyncio.Event(), steady=lambda: 0.0)
    for _ in range(3):
        assert not await guard("tick", "prod", fails(StoreUnavailable("disk full")))
        assert await guard("reconcile", "incidents", goes_well()), "it had nothing to write"
    assert await guard("tick", "other", goes_well())
    assert told(caplog) == ["store_unavailable"]
    assert await guard("tick", "prod", goes_well())
    assert told(caplog)[1:] == ["store_back"]


@pytest.mark.parametrize("error", [StoreLost("taken"), StoreBusy("taken")])
async def test_a_store_that_another_daemon_took_ends_this_one(error: StoreBusy | StoreLost) -> None:
    stop = asyncio.Event()
    guard = Guard(stop)
    assert not await guard("tick", "prod", fails(error))
    assert (stop.is_set(), guard.lost) == (True, error)
