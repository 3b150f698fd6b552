"""Other detectors on the same seeded streams: a rate of .02 for 10,000 probes, then .10.

A peer shows two figures: false alarms for each 10,000 probes before the change (all start anew after an alarm), and
probes from the change to its next alarm; a stream in which it stays silent counts as if it had alarmed at the end,
and is counted apart. Our threshold is set for each peer by the theorem alone: gamma = twice the peer's mean number of
probes between false alarms, or ten times all probes looked at where it has none. It is beaten if we are better at
both figures, or equal at no false alarm and better at the delay; a tie in the delay is not enough. Peers stand at
their defaults, those that were set by hand for this very step are counted apart. Peers learn the healthy rate from
the stream; ours is told both rates, as a daemon with a baseline is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.detection_intervals import wilson
from tests.benchmarks.detection_streams import CASES, Design, Runs
from tests.benchmarks.sweep_peers import PEERS, installed

__all__ = ["Seen", "beats", "measure", "ours", "seen", "streams", "wilson_alarms"]

DESIGN = CASES[0]
HEALTHY = 10_000
DRIFTED = 3000
_RIVER = "river==0.26.1"
_FIXED = (100, 400)
_SEED = 404
_WORDS = {True: "beaten", False: "not beaten"}

Streams = NDArray[np.uint8]
Alarms = list[list[int]]
"""For each stream, the probes (from 1) at which there is an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a detector's alarms amount to.

    Attributes:
        false: Alarms for each 10,000 probes before the change.
        delay: Mean probes from the change to the next alarm.
        silent: Streams without an alarm after the change.
    """

    false: float
    delay: float
    silent: int

    def __str__(self) -> str:
        """For the table."""
        return f"{self.false:.2f} false/1e4, {self.delay:.1f} probes" + (f", {self.silent} silent" * (self.silent > 0))


def measure(*, quick: bool) -> dict[str, Any]:
    """Run all on the same streams."""
    given = streams(10 if quick else 100)
    peers = {f"Wilson, every {n}": wilson_alarms(given, n) for n in _FIXED} | _river(given)
    won: dict[str, bool] = {}
    rows = []
    for name, alarms in peers.items():
        peer = seen(alarms)
        gamma = 2e4 / peer.false if peer.false else 10.0 * HEALTHY * len(given)
        us = seen(ours(given, gamma))
        won[name] = beats(us, peer)
        rows.append((f"{name}: {peer}", "beaten", f"{_WORDS[won[name]]}; ours at gamma {gamma:.3g}: {us}"))
    rows += [(f"ours at gamma {gamma:g}", "", str(seen(ours(given, gamma)))) for gamma in (1e4, 1e6)]
    tuned = [name for name in won if "tuned" in name]
    return {
        "peers_beaten": sum(won.values()) - sum(won[name] for name in tuned),
        "peers_compared": len(won) - len(tuned),
        "tuned_peers_beaten": sum(won[name] for name in tuned),
        "tuned_peers_compared": len(tuned),
        "rows": rows,
    }


def streams(count: int) -> Streams:
    """Draw the outcomes that all are given."""
    rates = np.repeat([DESIGN.p0, DESIGN.p1], [HEALTHY, DRIFTED])
    return (np.random.default_rng(_SEED).random((count, HEALTHY + DRIFTED)) < rates).astype(np.uint8)


def seen(alarms: Alarms, *, healthy: int = HEALTHY, drifted: int = DRIFTED) -> Seen:
    """Count false alarms and delays."""
    early = sum(at <= healthy for one in alarms for at in one)
    late = [[at - healthy for at in one if at > healthy] for one in alarms]
    return Seen(
        false=early / (healthy * len(alarms)) * 1e4,
        delay=float(np.mean([one[0] if one else drifted for one in late])),
        silent=sum(not one for one in late),
    )


def beats(us: Seen, peer: Seen) -> bool:
    """Tell whether we are better at both figures, or at the delay where neither has a false alarm."""
    return (us.false < peer.false or us.false == peer.false == 0) and us.delay < peer.delay


def ours(given: Streams, gamma: float, design: Design = DESIGN) -> Alarms:
    """Run the e-detector on all streams side by side; it starts anew after an alarm."""
    found: Alarms = [[] for _ in given]
    state, only = Runs(design, len(given), 1, gamma), np.zeros(len(given), dtype=np.int64)
    for n, outcomes in enumerate(given.T.astype(np.bool_), 1):
        state.update(only, outcomes)
        over = state.r[:, 0] >= gamma
        if over.any():
            state.restart(over)
            for run in np.flatnonzero(over):
                found[run].append(n)
    return found


def wilson_alarms(given: Streams, n: int, p0: float = DESIGN.p0) -> Alarms:
    """Alarm where the lower bound of n fresh probes is above p0; a stream's first batch begins at a random probe."""
    starts = np.random.default_rng((_SEED, n)).integers(n, size=len(given))
    found = []
    for one, start in zip(given, starts, strict=True):
        batches = (len(one) - int(start)) // n
        counts = one[start : start + batches * n].reshape(batches, n).sum(axis=1, dtype=np.float64)
        low, _ = wilson(counts, n)
        found.append([int(start) + (int(i) + 1) * n for i in np.flatnonzero(low > p0)])
    return found


def _river(given: Streams) -> dict[str, Alarms]:
    python = PEERS / "river" / "bin" / "python"
    installed(
        PEERS / "river",
        [sys.executable, "-m", "venv", str(PEERS / "river")],
        [str(python), "-m", "pip", "install", "-q", _RIVER],
    )
    path = PEERS / "river" / "streams.npy"
    np.save(path, given)
    script = Path(__file__).with_name("detection_river.py")
    ran = subprocess.run([str(python), str(script), str(path)], check=False, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"river failed:\n{ran.stderr[-2000:]}")
    found: dict[str, Alarms] = json.loads(ran.stdout)
    return {f"river {name}": _checked(alarms, given, name) for name, alarms in found.items()}


def _checked(alarms: Alarms, given: Streams, name: str) -> Alarms:
    if len(alarms) != len(given):
        raise SystemExit(f"river's {name} saw {len(alarms)} of {len(given)} streams: such a run can't be compared")
    return alarms
