"""River's drift detectors on given streams; run by the Python of the peer's own environment, which has no alignd.

``python detection_river.py STREAMS.npy`` prints one JSON object: for each detector, for each stream, the probes (from
1) at which it signals a change. A detector starts anew after each signal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["alarms", "detectors"]


def alarms(make: Callable[[], Any], streams: Iterable[Iterable[int]]) -> list[list[int]]:
    """Feed each stream to a detector of its own."""
    found = []
    for stream in streams:
        detector, at = make(), []
        for n, x in enumerate(stream, 1):
            detector.update(x)
            if detector.drift_detected:
                at.append(n)
                detector = make()
        found.append(at)
    return found


def detectors() -> Mapping[str, Callable[[], Any]]:
    """Name them: at their defaults, and two that were set by hand to find a step from .02 to .10."""
    from river import drift  # type: ignore[import-not-found,unused-ignore]

    return {
        "ADWIN": drift.ADWIN,
        "PageHinkley": drift.PageHinkley,
        "DDM": drift.binary.DDM,
        "tuned ADWIN, delta .1": lambda: drift.ADWIN(delta=0.1),
        "tuned PageHinkley, delta .03, threshold 5": lambda: drift.PageHinkley(delta=0.03, threshold=5.0, mode="up"),
    }


def main() -> None:
    """Read, feed and print."""
    import numpy as np

    streams = np.load(sys.argv[1]).tolist()
    print(json.dumps({name: alarms(make, streams) for name, make in detectors().items()}))


if __name__ == "__main__":
    main()
