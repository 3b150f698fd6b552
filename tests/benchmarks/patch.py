"""Figures of the safety patch: ``python -m tests.benchmarks.patch`` prints a table and, last, one JSON object.

Parts: ``exactness`` of the factors, their ``speed`` and memory, a ``whole`` one-shot patch, adapter and merged
checkpoint as ``served`` by vLLM, what ``repair`` comes to on drifted checkpoints, and its ``persistence``. The last two
take hours on two cores; their rows are kept, and a part that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.benchmarks import (
    patch_exactness,
    patch_persistence,
    patch_repair,
    patch_served,
    patch_speed,
    patch_whole,
)
from tests.benchmarks.sweep import machine

__all__ = ["PARTS", "bars"]

PARTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "exactness": patch_exactness.measure,
    "speed": patch_speed.measure,
    "whole": patch_whole.measure,
    "served": patch_served.measure,
    "repair": patch_repair.measure,
    "persistence": patch_persistence.measure,
}
_BARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "svd_relative_error_max": ("<= 1e-5", lambda v: v <= 1e-5),
    "speedup_linalg_svd": (">= 1000", lambda v: v >= 1000),
    "speedup_svd_lowrank": (">= 20", lambda v: v >= 20),
    "speedup_lora_ga": (">= 20", lambda v: v >= 20),
    "memory_above_forward_gb_8b": ("<= 1", lambda v: v <= 1),
    "patch_seconds": ("<= 10", lambda v: v <= 10),
    "speedup_adamw": (">= 3", lambda v: v >= 3),
    "adapter_merged_logprob_max_abs_diff": ("", lambda _: True),
    "checkpoints": (">= 5", lambda v: v >= 5),
    "checkpoints_repaired": ("all", bool),
    "drift_removed_median": (">= 0.5", lambda v: v >= 0.5),
}


def bars(found: Mapping[str, Any]) -> list[tuple[str, str, Any, str]]:
    """Hold figures against the bars.

    Returns:
        Name, bar, figure and ``reached`` or ``MISSED``, for each figure that was measured.
    """
    told = []
    for name, (asked, holds) in _BARS.items():
        if found.get(name) is not None:
            kept = holds(found[name])
            if name == "checkpoints_repaired":
                kept = found[name] == found["checkpoints"]
            told.append((name, asked, found[name], "reached" if kept else "MISSED"))
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them (default: all)")
    given = parser.parse_args()
    parts = given.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    found: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    about = machine()
    for part in parts:
        print(f"{time.strftime('%H:%M:%S')} {part}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        found |= PARTS[part]()
        seconds[part] = round(time.perf_counter() - began, 1)
        for name, asked, measured in found.pop("table", None) or ():
            print(f"{name:<90} {asked:<18} {measured}")
    if "repair" in parts:
        patch_repair.print_rows(found["rows"])
    print()
    for name, asked, measured, word in bars(found):
        print(f"{word:<8} {name:<40} {asked:<12} {measured}")
    print(json.dumps(found | {"seconds": seconds, "machine": about}))


if __name__ == "__main__":
    main()
