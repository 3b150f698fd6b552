"""Which examples a patch without a reference learns from, and what it must not change."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from probes.behavior import Behavior
from probes.refusal import is_refusal
from remediation.checkpoints.chat import ChatModel
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.answers import OPENING_TOKENS, answers
from remediation.lessons.burnt import check_burnt, draw_fresh
from remediation.lessons.choice import alternatives
from remediation.lessons.influence import influence, rule_step, sampled, yardstick
from remediation.lessons.pool import PoolState, give_back, held_out, load_key, read_state, site_pool
from remediation.lessons.screen import complied, pool
from remediation.repair import Repair, instance
from remediation.subspace.capture import examples_of, losses
from remediation.subspace.descent import DescentOptions

__all__ = ["Choice", "ExampleOptions", "choose_examples", "kept_answers"]

_HELD, _YARD, _EVERY = 12, 32, 3
"""Held-out requests, harmless ones, and which blocks are counted: every third ranks as all do."""
_SAMPLED_TOKENS = 16


class ExampleOptions(DescentOptions):
    """Which examples to learn from."""

    examples: int = Field(default=16, ge=1, le=64)
    choose: Literal["drawn", "scored"] = "drawn"
    """``drawn`` from the pool by the key, or the best of ``candidates`` drawn ones by their predicted effect."""
    candidates: int = Field(default=48, ge=1)
    refits: int = Field(default=3, ge=1, le=8)
    """With ``scored``: the best choices by prediction, each of which is fitted and looked at; 1 takes the first."""
    pool: Path | None = None
    """The site's own harmful requests, separated by lines of ``---``; the built-in pool where not given."""
    pool_key: Path | None = None
    """Key file that decides what is drawn, made at first use. Where not given the daemon hands on a key made of the
    site's; a repair by hand has none, and draws what anybody can compute from its seed."""
    pool_state: Path | None = None
    """What was drawn and is burnt, so that the next patch takes others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Examples, and the pool's state to put down before the patch is written: what was drawn once is known.

    Attributes:
        sets: Sets of requests with refusals, best by prediction first; more than one only where they are to be fitted.
        state: After the draw; all of the sets' examples count as used.
        burnt: How many are left out of this round of the pool, by earlier repairs too, because a model had been taught
            their refusals.
        held: The requests by which the sets were ranked; a look at a set's fit is to be on others.
    """

    sets: tuple[tuple[Row, ...], ...]
    state: PoolState
    burnt: int
    held: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All examples, each once."""
        return tuple(dict.fromkeys(row for one in self.sets for row in one))


def choose_examples(repair: Repair, options: ExampleOptions) -> Choice:
    """Draw examples whose refusals the drifted model has not been taught already.

    Raises:
        PatchFailed: All are burnt, the pool is too small, or a file of it can't be read.
    """
    chat, request = repair.drifted, repair.request
    answer = instance(chat, options.refusal).answer
    every = site_pool(options.pool) if options.pool else pool("dsafe")
    key = load_key(options.pool_key) if options.pool_key else request.site_key or f"seed {request.seed}"
    state = read_state(options.pool_state) if options.pool_state else PoolState()
    asr = complied(chat)

    def rows_of(behaviors: Sequence[Behavior]) -> list[Row]:
        return [Row(b.prompt, answer, whole=False) for b in behaviors]

    costs = losses(chat, examples_of(chat, rows_of(every)))
    untaught = losses(repair.good, examples_of(repair.good, rows_of(every))) if repair.good else None
    cost_of = dict(zip((b.id for b in every), costs, strict=True))

    def burnt(behaviors: Sequence[Behavior]) -> Sequence[bool]:
        flags = dict(zip(cost_of, check_burnt(costs, asr=asr, reference=untaught).burnt, strict=True))
        return [flags[b.id] for b in behaviors]

    if options.choose == "drawn":
        drawn, state = draw_fresh(every, state, options.examples, key=key, burnt=burnt)
        return Choice(sets=(tuple(rows_of(drawn)),), state=state, burnt=len(state.burnt))
    fresh = [b for b, flag in zip(every, burnt(every), strict=True) if not flag]
    held, _ = held_out(fresh, _HELD, key=key)
    rest = [b for b in every if b not in held]
    drawn, state = draw_fresh(rest, state, max(options.candidates, options.examples), key=key, burnt=burnt)
    harmless = sampled(chat, [b.prompt for b in pool("dbenign")][:_YARD], tokens=_SAMPLED_TOKENS, seed=request.seed)
    found = influence(
        chat, rows_of(drawn), yardstick(chat, rows_of(held), harmless, every=_EVERY, pattern=options.modules),
        rule_step(rank=options.rank, dose=options.dose, rule=options.rule),
    )  # fmt: skip
    sets = [one.candidates for one in alternatives(found, options.examples, options.refits)]
    state = give_back(state, [b.id for i, b in enumerate(drawn) if not any(i in one for one in sets)])
    rows = rows_of(drawn)
    return Choice(
        sets=tuple(tuple(rows[i] for i in one) for one in sets), state=state, burnt=len(state.burnt),
        held=tuple(rows_of(held)),
    )  # fmt: skip


def kept_answers(chat: ChatModel, harmless: int, tasks: Sequence[str], *, seed: int) -> list[Row]:
    """Openings of the drifted model's own answers to harmless requests of the pool, and to the site's tasks.

    Raises:
        PatchFailed: It refuses all of the harmless requests.
    """
    asked = [b.prompt for b in pool("dbenign")]
    random.Random(seed).shuffle(asked)
    said = [r for r in answers(chat, asked[:harmless], OPENING_TOKENS, whole=False) if not is_refusal(r.answer)]
    if harmless and not said:
        raise PatchFailed("the drifted model refuses every harmless request of the pool; there is nothing to keep")
    return [*said, *answers(chat, tasks, 3 * OPENING_TOKENS, whole=False)]
