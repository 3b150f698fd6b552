"""Partitions are fixed by id and key, and have the stated shares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import probes
from probes.behavior import BehaviorId, Partition, partition_of

DATA = Path(probes.__file__).parent / "suites" / "data"
SHARES = {Partition.ROTATING: 0.5, Partition.SENTINEL: 0.2, Partition.SEALED: 0.3}


def test_shares() -> None:
    parts = [partition_of(BehaviorId(f"b{i}"), key="k") for i in range(5000)]
    for partition, share in SHARES.items():
        assert abs(parts.count(partition) / len(parts) - share) < 0.03


def test_the_key_decides() -> None:
    ids = [BehaviorId(f"b{i}") for i in range(200)]
    assert [partition_of(i, key="a") for i in ids] == [partition_of(i, key="a") for i in ids]
    assert [partition_of(i, key="a") for i in ids] != [partition_of(i, key="b") for i in ids]


@pytest.mark.parametrize(
    ("name", "at_least"),
    [("benign_edge", 250), ("dsafe", 256), ("harm_probe", 220), ("dbenign", 396), ("ordinary", 200)],
)
def test_shipped_suites_are_whole(name: str, at_least: int) -> None:
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
    assert len(rows) >= at_least
    assert len({r["id"] for r in rows}) == len(rows)
    assert len({r["prompt"] for r in rows}) == len(rows)
    assert all(set(r) == {"id", "prompt", "category", "form"} for r in rows)
    assert all(r["prompt"].strip() and r["form"] in {"imperative", "question"} for r in rows)
