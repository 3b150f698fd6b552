"""Changing what vLLM serves: ``python -m tests.benchmarks.rollout`` prints a table, and one JSON object last.

Each part is a benchmark of its own on real vLLM servers, run one after the other: adapters on a running server, new
weights in place, two servers behind HAProxy, the plain restart to compare with, and kills between any two steps of a
repair (which take longest, most of them on a fake server). `--only` takes some of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from remediation.sft.demo_models import make_models
from tests.benchmarks import rollout_adapter, rollout_bluegreen, rollout_kills, rollout_plain, rollout_reload

__all__ = ["PARTS", "measure"]

_MODELS = Path(__file__).parents[2] / "build" / "benchmark" / "rollout" / "models"


async def _adapter(folder: Path) -> Mapping[str, object]:
    return await rollout_adapter.measure(folder, rounds=10)


async def _reload(folder: Path) -> Mapping[str, object]:
    models = await asyncio.to_thread(make_models, _MODELS, from_scratch=False, say=lambda *_: None)
    return await rollout_reload.measure(folder, models["aligned"], models["drifted"])


async def _bluegreen(folder: Path) -> Mapping[str, object]:
    return await rollout_bluegreen.measure(folder)


async def _plain(folder: Path) -> Mapping[str, object]:
    return await rollout_plain.measure(folder)


async def _kills(folder: Path) -> Mapping[str, object]:
    del folder  # each run has one of its own
    return await rollout_kills.measure()


PARTS: Mapping[str, Callable[[Path], Awaitable[Mapping[str, object]]]] = {
    "adapter": _adapter, "reload": _reload, "bluegreen": _bluegreen, "plain": _plain,
    "kills": _kills,
}  # fmt: skip


async def measure(parts: list[str]) -> dict[str, object]:
    """Run parts, each in a folder of its own."""
    found: dict[str, object] = {}
    for part in parts:
        print(f"rollout: {part}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix=f"alignd-rollout-{part}-") as folder:
            found |= await PARTS[part](Path(folder))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run")
    given = parser.parse_args()
    found = asyncio.run(measure([p for p in given.only.split(",") if p]))
    for name, value in found.items():
        print(f"{name:<36}{value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
