"""The path of the evidence."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.watch import new_watch
from monitor.web.evidence import Height, path_of, thinned
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def path(*logs: float) -> list[Height]:
    return [Height(position=i, at=NOW, log=log) for i, log in enumerate(logs, 1)]


@pytest.mark.parametrize("n", [0, 1, 2, 10, 11, 99, 500, 1234])
@pytest.mark.parametrize("most", [2, 3, 10])
def test_no_peak_is_lost_and_the_last_stays(n: int, most: int) -> None:
    whole = path(*(float(i * 7919 % 997) for i in range(n)))
    kept = thinned(whole, most=most)
    assert len(kept) <= most
    assert kept == sorted(kept, key=lambda h: h.position)
    if n:
        assert kept[-1] == whole[-1]
        assert max(h.log for h in kept) == max(h.log for h in whole)
    if n <= most:
        assert kept == whole


def test_where_there_is_none_it_says_so() -> None:
    assert thinned(path(-math.inf, -math.inf, -math.inf), most=2)[-1].log == -math.inf


async def test_it_ends_where_the_watch_is(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await breach(world, service)
    epoch, watch = service.watched("prod") or pytest.fail("no epoch")
    found = path_of(new_watch(world.rates, epoch), service.store.entries(epoch))
    assert [h.position for h in found] == list(range(1, watch.position + 1))
    assert found[-1].log == watch.log_r
    await service.aclose()
