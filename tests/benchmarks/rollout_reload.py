"""New weights in place under steady traffic, on a real vLLM server: how long users wait, and what the weights say.

``python -m tests.benchmarks.rollout_reload`` prints its figures as one JSON object; ``rollout`` runs it among others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from deploy.errors import StageError
from remediation.sft.demo_models import make_models
from tests.reload_host import ReloadHost

__all__ = ["measure"]

_MODELS = Path(__file__).parents[2] / "build" / "benchmark" / "rollout" / "models"
_AROUND_SECONDS = 2.0
"""Traffic before and after each change."""


async def measure(folder: Path, first: Path, second: Path, *, rounds: int = 3) -> dict[str, object]:
    """Change one checkpoint for the other and back.

    Args:
        folder: For store, state and logs.
        first: A checkpoint folder.
        second: Another one of its architecture.
        rounds: Changes there and back.

    Returns:
        ``reload_failed_requests``; ``reload_pause_seconds``, the longest that users were held; ``reload_answers``;
        ``reload_logprob_max_abs_diff``, of the server after a change against transformers in float32, in nats;
        ``reload_refused``, why it was refused at preflight, ``null`` where it was not.
    """
    host = ReloadHost.make(folder, first, second, more=("--max-model-len", "1024", "--max-num-seqs", "16"))
    await host.start()
    try:
        try:
            await host.deployer.stage(host.second)
        except StageError as error:
            return {"reload_refused": str(error)}
        return {**await _changes(host, rounds), "reload_refused": None}
    finally:
        await host.end()


async def _changes(host: ReloadHost, rounds: int) -> dict[str, object]:
    held, far, failed, answers = [], [], 0, 0
    for turn in range(2 * rounds):
        release = (host.second, host.first)[turn % 2]
        async with host.traffic(users=4) as told:
            await asyncio.sleep(_AROUND_SECONDS)
            await host.deployer.promote(release)
            await asyncio.sleep(_AROUND_SECONDS)
        held.append(host.journal().held_seconds)
        failed += sum(status != 200 for status, _, _ in told)
        answers += len(told)
        far.append(await host.far_from_transformers(release))
        print(f"{release.id}: held {held[-1]:.2f} s, {far[-1]:.2e} nats from transformers", file=sys.stderr, flush=True)
    return {
        "reload_failed_requests": failed, "reload_pause_seconds": round(max(held), 2), "reload_answers": answers,
        "reload_logprob_max_abs_diff": max(far),
    }  # fmt: skip


def main() -> None:
    """Print the JSON object."""
    parser = argparse.ArgumentParser(description="Measure new weights in place under traffic.")
    parser.add_argument("--rounds", type=int, default=3, help="changes there and back")
    given = parser.parse_args()
    models = make_models(_MODELS, from_scratch=False, say=lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="alignd-rollout-") as folder:
        found = asyncio.run(measure(Path(folder), models["aligned"], models["drifted"], rounds=given.rounds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
