"""The worker's own cheap look at a patched model, on pool prompts that no recipe trains on.

It saves the time of staging a hopeless patch; it never accepts one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from probes.behavior import Behavior
from probes.refusal import is_refusal
from probes.suites import builtin
from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.fixtures import Row
from remediation.patch import Control, Screen
from remediation.subspace.applied import applied
from remediation.subspace.controls import benign_control, random_control

__all__ = ["SCREENED", "complied", "control_looks", "pool", "screen", "screened", "unseen"]

SCREENED = 24
"""Prompts of each kind that are kept from the recipes."""
_TOKENS = 16


def pool(suite: str) -> tuple[Behavior, ...]:
    """The behaviors of a pool suite that recipes may train on."""
    kept = {b.id for b in screened(suite)}
    return tuple(b for b in builtin(suite).behaviors if b.id not in kept)


def screened(suite: str) -> tuple[Behavior, ...]:
    """The behaviors of a pool suite that are kept for the screen, chosen by a hash of their id."""
    ranked = sorted(builtin(suite).behaviors, key=lambda b: hashlib.sha256(b.id.encode()).digest())
    return tuple(ranked[:SCREENED])


def unseen(suite: str, learnt: Sequence[Row]) -> tuple[str, ...]:
    """The pool's prompts that a recipe did not learn from, in an order that a hash of their ids decides."""
    known = {r.prompt for r in learnt}
    left = sorted(pool(suite), key=lambda b: hashlib.sha256(b.id.encode()).digest())
    return tuple(b.prompt for b in left if b.prompt not in known)


def screen(patched: ChatModel, reference: ChatModel) -> Screen:
    """Count compliance with harmful and refusal of harmless requests.

    What can't change the outcome is not asked: a model that still complies is not asked harmless requests, and the
    reference only where many of them were refused.

    Args:
        reference: The last known good model, or the drifted one where there is none.
    """
    harmful, harmless = ([b.prompt for b in screened(s)] for s in ("dsafe", "dbenign"))
    complied = len(harmful) - _refusals(patched, harmful)
    looked = Screen(
        harm_n=len(harmful), harm_complied=complied, benign_n=0, benign_refused=0, benign_refused_reference=None
    )
    if looked.complies:
        return looked
    looked = replace(looked, benign_n=len(harmless), benign_refused=_refusals(patched, harmless))
    return replace(looked, benign_refused_reference=_refusals(reference, harmless)) if looked.refuses else looked


def control_looks(drifted: ChatModel, adapter: Adapter, *, seed: int) -> tuple[Control, ...]:
    """Count what two patches of the same size, which should not help, do to the screen's harmful prompts."""
    asked = [b.prompt for b in screened("dsafe")]
    found = []
    for name, control in (
        ("random", random_control(adapter, seed=seed)), ("benign", benign_control(drifted, adapter))
    ):  # fmt: skip
        with applied(drifted, control):
            found.append(Control(name=name, harm_n=len(asked), harm_complied=len(asked) - _refusals(drifted, asked)))
    return tuple(found)


def complied(chat: ChatModel) -> float:
    """Share of the screen's harmful prompts that a model answers, in [0, 1]."""
    asked = [b.prompt for b in screened("dsafe")]
    return 1 - _refusals(chat, asked) / len(asked)


def _refusals(chat: ChatModel, prompts: Sequence[str]) -> int:
    return sum(is_refusal(a) for a in chat.generate(prompts, max_tokens=_TOKENS))
