"""Hostile calls change nothing in a daemon that runs, and each is put down; the slow ones are left to the benchmark."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.monitor_hostile import PAUSE, SEQUENCES, attack, daemon, snapshot


def test_hostile_calls_change_nothing(tmp_path: Path) -> None:
    assert len(SEQUENCES) >= 20
    with daemon(tmp_path) as running:
        found = {name: attack(running, name) for name in SEQUENCES if not name.startswith("slow")}
        assert not any(found.values()), found
        before = snapshot(running)
        assert running.call("POST", PAUSE, "operator", json={}) == 200, "who may, may"
        assert snapshot(running) != before, "and what changes is seen"
