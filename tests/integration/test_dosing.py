"""The dose is the smallest that does what the whole change does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.lessons import dosing

PROMPTS = [f"request {i}" for i in range(8)]
ADAPTER: Adapter = {"m": (torch.ones(1, 2), torch.ones(2, 1))}


def found(
    answered_at: Sequence[tuple[float, int]], allowed: int, monkeypatch: pytest.MonkeyPatch, most: float = 1.5
) -> tuple[Adapter, dict[str, float]]:
    """Choose a dose for a model that answers so many prompts from each dose on."""
    at = [0.0]

    class Applied:
        def __init__(self, _: object, __: object, dose: float) -> None:
            self.dose = dose

        def __enter__(self) -> None:
            at[0] = self.dose

        def __exit__(self, *_: object) -> None:
            at[0] = 0.0

    good, drifted = ChatModel(None, None), ChatModel(None, None)

    def answered(chat: ChatModel, _: Sequence[str]) -> int:
        return allowed if chat is good else next(n for dose, n in reversed(answered_at) if at[0] >= dose)

    monkeypatch.setattr(dosing, "applied", Applied)
    monkeypatch.setattr(dosing, "_answered", answered)
    return dosing.fewest_answered(drifted, good, ADAPTER, PROMPTS, most=most)


def test_no_more_is_taken_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, figures = found([(0.0, 8), (0.6, 1)], 1, monkeypatch)
    assert figures == {
        "dose": 0.625, "dose_failed": 0.5625, "dose_prompts": 8.0, "dose_answered": 1.0, "dose_answered_allowed": 1.0,
        "dose_answered_drifted": 8.0,
    }  # fmt: skip
    assert float(adapter["m"][1][0]) == 0.625


@pytest.mark.parametrize(
    ("answered_at", "dose", "failed"),
    [
        ([(0.0, 8), (1.1, 1)], 1.125, 1.0625),
        ([(0.0, 8), (0.5, 3), (1.4, 0)], 1.4375, 1.375),
        ([(0.0, 8), (0.5, 4), (1.2, 2)], 1.25, 1.0),
        ([(0.0, 8), (0.5, 4)], 1.0, None),
    ],
    ids=["a little more", "half more", "none is enough and one comes nearest", "more is no better"],
)
def test_a_fit_that_stopped_short_is_taken_further(
    answered_at: list[tuple[float, int]], dose: float, failed: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, figures = found(answered_at, 1, monkeypatch)
    assert (figures["dose"], figures.get("dose_failed")) == (dose, failed)
    assert torch.equal(adapter["m"][1], dose * ADAPTER["m"][1])


@pytest.mark.parametrize(("answered_at", "dose"), [([(0.0, 3), (0.2, 0)], 1.0), ([(0.0, 3), (1.1, 0)], 1.125)])
def test_a_drift_that_plain_requests_do_not_show_is_taken_back_whole(
    answered_at: list[tuple[float, int]], dose: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, figures = found(answered_at, 1, monkeypatch)
    assert figures["dose"] == dose


@pytest.mark.parametrize(("most", "dose"), [(1.0, 1.0), (1.1, 1.1), (1.2, 1.15), (1.4, 1.1875)])
def test_it_is_taken_as_far_as_it_may_be(most: float, dose: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far enough is 1.15, which halving finds within a sixteenth, or exactly where the limit lets it."""
    _, figures = found([(0.0, 8), (1.0, 3), (1.1, 2), (1.15, 1)], 1, monkeypatch, most)
    assert figures["dose"] == pytest.approx(dose, abs=1 / 16)
    assert figures["dose"] <= most
    assert figures["dose_answered"] == {1.0: 3, 1.1: 2}.get(most, 1)
