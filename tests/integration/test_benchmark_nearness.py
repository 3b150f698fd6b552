"""What the benchmark of nearness measures, on tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from remediation.checkpoints.chat import load
from remediation.fixtures import Row
from tests.benchmarks.patch_nearness import Held, divergence
from tests.tiny import tiny_checkpoint

ROWS = [Row("a", "one two", whole=False), Row("a longer one", "three", whole=False)]


def test_a_model_is_at_no_distance_from_itself_and_at_some_from_another(tmp_path: Path) -> None:
    good, other = (load(tiny_checkpoint(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    held = Held.of(good, ROWS)
    assert divergence(good, held) == pytest.approx(0.0, abs=1e-6)
    assert divergence(other, held) > 0


def test_the_divergence_is_the_mean_over_the_first_tokens_of_each_row(tmp_path: Path) -> None:
    good, other = (load(tiny_checkpoint(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    held = Held.of(good, ROWS, tokens=2)
    expected = []
    for row in ROWS:
        prompt, answer = good.prompt_ids(row.prompt), good.answer_ids(row.answer, whole=False)
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            p, q = (
                chat.model(input_ids=ids).logits[0, len(prompt) - 1 : len(prompt) + 1].double().softmax(-1)
                for chat in (good, other)
            )
        expected.append(float((p * (p / q).log()).sum() / 2))
    assert divergence(other, held) == pytest.approx(sum(expected) / 2, rel=1e-3)
