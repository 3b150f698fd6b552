"""Kill -9 and replay: ``python -m tests.benchmarks.detection_replay --log FILE`` folds probes and logs them.

A child that is started on a log goes on where the log ends; a torn last line is dropped. Strata are chosen by the
evidence so far, so that one bit of difference would soon be seen. Also here: the time of one update.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probes.statistics.allocation import EpsilonGreedyAllocator
from probes.statistics.confidence import SubBernoulliConfidenceSequence
from probes.statistics.detectors import ShiryaevRobertsEDetector, StratifiedEDetector
from probes.statistics.evalues import SequentialTest

__all__ = ["Folded", "measure", "read", "run"]

ROOT = Path(__file__).resolve().parents[2]
PROBES = 20_000
STRATA = 42
RATE = 0.05
GAMMA = 1e6
_SEED = 505
_SECONDS_MAX = 120.0
_ALLOCATOR = EpsilonGreedyAllocator(shares={f"s{i}": 1 / STRATA for i in range(STRATA)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a log of probes amounts to."""

    detector: StratifiedEDetector
    test: SequentialTest
    gauge: SubBernoulliConfidenceSequence

    def add(self, stratum: str, harmful: bool) -> Folded:
        """Fold one more probe."""
        return replace(
            self,
            detector=self.detector.update(stratum, harmful),
            test=self.test.update(harmful),
            gauge=self.gauge.update(float(harmful)),
        )

    @property
    def digest(self) -> str:
        """Hash of the whole state; Python prints floats so that each bit counts."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def start() -> Folded:
    """Begin a log."""
    return Folded(
        detector=StratifiedEDetector(p0=0.02, p1=0.10, gamma_warn=1e4, gamma_breach=GAMMA),
        test=SequentialTest(p0=0.02, p1=0.10),
        gauge=SubBernoulliConfidenceSequence(alpha=0.05),
    )


def fold(entries: Iterable[tuple[str, bool]], state: Folded | None = None) -> Folded:
    """Add probes in the order of the log."""
    state = state or start()
    for stratum, harmful in entries:
        state = state.add(stratum, harmful)
    return state


def read(log: Path) -> list[tuple[str, bool]]:
    """Read a log; cut a torn last line off."""
    whole = log.read_bytes() if log.exists() else b""
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        os.truncate(log, len(kept))
    rows = (json.loads(line) for line in kept.splitlines())
    return [(row["stratum"], row["harmful"]) for row in rows]


def run(log: Path, probes: int) -> Folded:
    """Replay the log, then probe until there are so many."""
    entries = read(log)
    state = fold(entries)
    uniform = np.random.default_rng(_SEED).random((probes, 2)).tolist()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        for choice, outcome in uniform[len(entries) :]:
            stratum, harmful = _choose(state, choice), outcome < RATE
            os.write(file, f"{json.dumps({'stratum': stratum, 'harmful': harmful})}\n".encode())
            state = state.add(stratum, harmful)
    finally:
        os.close(file)
    return state


def _choose(state: Folded, uniform: float) -> str:
    log_r = {name: one.log_r for name, one in state.detector.strata.items()}
    return _ALLOCATOR.choose(_ALLOCATOR.probabilities(log_r), uniform)


def measure(*, quick: bool) -> dict[str, Any]:
    """Kill children at random probes and compare; time updates."""
    rng = np.random.default_rng(_SEED + 1)
    tries, same, rows = (1 if quick else 5), 0, []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        unkilled = _finish(folder / "unkilled.jsonl")
        whole = read(folder / "unkilled.jsonl")
        for i in range(tries):
            log = folder / f"killed-{i}.jsonl"
            _kill(log, at=int(rng.integers(1, PROBES * 3 // 4)), torn=bool(i % 2))
            entries = read(log)
            same += fold(entries).digest == fold(whole[: len(entries)]).digest and (
                (_finish(log), log.read_bytes()) == (unkilled, (folder / "unkilled.jsonl").read_bytes())
            )
            rows.append((f"killed after probe {len(entries)} of {PROBES}", "identical", f"{same} of {i + 1}"))
    update, level = _microseconds()
    rows.append((f"microseconds to read the level of {STRATA} strata", "", f"{level:.2f}"))
    return {"replay_identical": same == tries, "update_microseconds": update, "rows": rows}


def _command(log: Path) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.detection_replay", "--log", str(log)]


def _finish(log: Path) -> str:
    ran = subprocess.run(_command(log), cwd=ROOT, check=True, capture_output=True, text=True, timeout=_SECONDS_MAX)
    return ran.stdout.strip()


def _kill(log: Path, *, at: int, torn: bool) -> None:
    """Kill a child once its log has so many probes; where ``torn``, the last line lost its end too."""
    child = subprocess.Popen(_command(log), cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + _SECONDS_MAX
    while not log.exists() or log.read_bytes().count(b"\n") < at:
        if child.poll() is not None or time.monotonic() > until:
            child.kill()
            raise SystemExit(f"the child ended before its probe {at}: nothing was killed")
    child.send_signal(signal.SIGKILL)
    if child.wait() != -signal.SIGKILL:
        raise SystemExit("the child ended before it was killed")
    if torn:
        os.truncate(log, log.stat().st_size - 5)


def _microseconds() -> tuple[float, float]:
    """Time updates where all strata have had successes, best of many short rounds.

    Returns:
        The slowest of a success and a failure, of one stratum's detector and of 42 strata's; reading the level.
    """
    drawn = np.random.default_rng(_SEED + 2).random(20 * STRATA) < 5 * RATE
    whole = fold((f"s{i % STRATA}", bool(x)) for i, x in enumerate(drawn)).detector
    one = ShiryaevRobertsEDetector.tilted(0.02, 0.10, gamma=GAMMA).update(True)
    names = itertools.cycle(list(whole.strata))
    timed = (
        lambda: one.update(True), lambda: one.update(False), lambda: whole.update(next(names), True),
        lambda: whole.update(next(names), False), lambda: whole.level,
    )  # fmt: skip
    *updates, level = (min(timeit.repeat(call, repeat=100, number=5 * STRATA)) / (5 * STRATA) * 1e6 for call in timed)
    return max(updates), level


def main() -> None:
    """Fold, log and print the state's hash."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--probes", type=int, default=PROBES)
    given = parser.parse_args()
    print(run(given.log, given.probes).digest)


if __name__ == "__main__":
    main()
