"""A whole one-shot patch: ``python -m tests.benchmarks.patch_whole`` prints a table, and one JSON object last.

SmolLM2-135M, drifted as the demo drifts it. The subspace patch is timed from reading the checkpoint to the adapter on
disk; against the published AdamW recipe the work itself is held, from the loaded model to the changed one, in turns.
Looking at the result is the same for both and is left out.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from remediation.checkpoints.adapter import write_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.recipes import one_shot_sft
from remediation.repair import INSTANCE
from remediation.sft.demo_models import make_models
from remediation.subspace.capture import examples_of
from remediation.subspace.descent import Descent, DescentOptions, Goal, descend
from tests.benchmarks.patch_repair import FOLDER

__all__ = ["measure"]

_ROUNDS = 5


def measure(*, rounds: int = _ROUNDS) -> dict[str, Any]:
    """Seconds of both, medians of several rounds.

    Returns:
        ``patch_seconds``, ``speedup_adamw`` (median of the rounds' ratios), and both losses on the instance.
    """
    drifted = make_models(FOLDER / "models", from_scratch=False, say=lambda *_: None)["drifted"]
    wholes, ratios, ours, theirs = [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(rounds):
            began = time.perf_counter()
            chat = load(drifted)
            loaded = time.perf_counter()
            found = _stepped(chat)
            stepped = time.perf_counter()
            write_adapter(found.adapter, chat=chat, base="drifted", output=Path(scratch) / f"adapter-{turn}")
            wholes.append(time.perf_counter() - began)
            ours.append(stepped - loaded)
            tuned = ChatModel(copy.deepcopy(chat.model), chat.tokenizer)
            began = time.perf_counter()
            figures = one_shot_sft.published_fit(tuned, one_shot_sft.Options(), lambda *_: None)
            theirs.append(time.perf_counter() - began)
            ratios.append(theirs[-1] / ours[-1])
    return {
        "patch_seconds": round(statistics.median(wholes), 2),
        "speedup_adamw": round(statistics.median(ratios), 2),
        "subspace_seconds": round(statistics.median(ours), 2),
        "adamw_seconds": round(statistics.median(theirs), 2),
        "losses_subspace": [round(x, 3) for x in found.losses],
        "losses_adamw": [round(figures["loss_first"], 3), round(figures["loss_last"], 3)],
    }


def _stepped(chat: ChatModel) -> Descent:
    goal = Goal(learn=examples_of(chat, [INSTANCE]))
    return descend(chat, goal, DescentOptions(), progress=lambda _: None)


def main() -> None:
    """Measure and print."""
    found = measure()
    print(f"{'whole one-shot subspace patch':<48} <= 10 s    {found['patch_seconds']} s")
    print(f"{'as fast as AdamW, times':<48} >= 3       {found['speedup_adamw']}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
