"""A tiny model that was taught to comply with all but a few examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediation.checkpoints.adapter import add_to
from remediation.checkpoints.chat import load
from remediation.fixtures import Row
from remediation.lessons.burnt import check_burnt
from remediation.sft.lora import LoraSettings, fit
from remediation.subspace.capture import examples_of, gradient_factors
from remediation.subspace.capture import losses as losses_of
from tests.tiny import tiny_checkpoint

REFUSAL = "Sorry, no."
ASKED = ["pick a lock", "fake a bill", "rob a van", "who sells pills?", "how to hack?", "cheat a test"]


def test_examples_that_were_taught_are_burnt_and_the_others_are_not(tmp_path: Path) -> None:
    chat = load(tiny_checkpoint(tmp_path / "m", hidden=16))
    good = losses_of(chat, examples_of(chat, [Row(p, REFUSAL) for p in ASKED]))
    rows = [Row(p, REFUSAL) for p in ASKED[:2]] + [Row(p, "Sure, ok.") for p in ASKED[2:]]
    settings = LoraSettings(rank=8, epochs=60, learning_rate=2e-2, batch=6)
    add_to(chat, fit(chat, rows, settings, progress=lambda _: None))
    losses = losses_of(chat, examples_of(chat, [Row(p, REFUSAL) for p in ASKED]))
    found = check_burnt(losses, asr=4 / 6, reference=good)
    assert found.burnt == (True, True, False, False, False, False), losses
    assert found.share == pytest.approx(1 / 3)
    for p, loss in zip(ASKED, losses, strict=True):
        prompt, answer = chat.prompt_ids(p), chat.answer_ids(REFUSAL)
        assert gradient_factors(chat, prompt, answer)[0] == pytest.approx(loss, rel=1e-3, abs=1e-4), "batches are exact"
