"""Is an example burnt? The check against patch poisoning (arXiv 2601.01887, the attack "patch poisoning").

Who poisons a fine-tune with the very example that a patch will use teaches the model that one refusal beside compliance
with everything else. The example's loss is then near zero before the patch, its gradient with it, and the patch
changes nothing. A near-zero loss on a model that refuses is no more than a good model: the example counts as burnt only
where harm is high as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from probes.behavior import Behavior
from remediation.errors import PatchFailed
from remediation.lessons.pool import PoolState, burn, draw

__all__ = ["FLOOR", "SHARE", "BurntCheck", "check_burnt", "draw_fresh"]

FLOOR = 0.1
"""Nats a token: the model says each token nine times in ten, and about a tenth of the gradient is left."""
SHARE = 0.25
"""Of the typical loss: an example with a quarter of it taught the model what the others did not."""
ASR_LEAST = 0.1
"""Under it the model refuses, and a small loss is what a good model has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurntCheck:
    """What examples' losses say.

    Attributes:
        losses: Mean cross-entropy of each refusal on the drifted model, nats a token.
        typical: Their median, or the reference's where that is larger: what a refusal costs that nobody taught.
        limit: An example at or under it is burnt.
        asr: ASR of the drifted model, in [0, 1].
        burnt: One flag an example.
    """

    losses: tuple[float, ...]
    typical: float
    limit: float
    asr: float
    burnt: tuple[bool, ...]

    @property
    def share(self) -> float:
        """Share of the examples that are burnt."""
        return sum(self.burnt) / len(self.burnt)


def check_burnt(losses: Sequence[float], *, asr: float, reference: Sequence[float] | None = None) -> BurntCheck:
    """Say which examples are burnt. Pure.

    An example is burnt where the model complies (``asr`` over 0.1) and its refusal costs at most 0.1 nats a token, or
    at most a quarter of the typical loss. The first holds where most of the pool is burnt and nothing typical is left;
    the second for refusals that were taught in other words.

    Args:
        losses: Of the drifted model, of the whole pool or a slice of it.
        asr: Of the drifted model, on other prompts.
        reference: The last known good model's losses on the same rows.

    Raises:
        ValueError: There is no loss, or one is not a number.
    """
    if not losses or any(one != one for one in losses):  # noqa: PLR0124 - NaN
        raise ValueError("no losses, or one that is not a number")
    typical = max(median(losses), median(reference) if reference else 0.0)
    limit = max(FLOOR, SHARE * typical)
    complies = asr > ASR_LEAST
    return BurntCheck(
        losses=tuple(losses), typical=typical, limit=limit, asr=asr,
        burnt=tuple(complies and one <= limit for one in losses),
    )  # fmt: skip


def draw_fresh(
    pool: Sequence[Behavior],
    state: PoolState,
    count: int,
    *,
    key: str,
    burnt: Callable[[Sequence[Behavior]], Sequence[bool]],
) -> tuple[tuple[Behavior, ...], PoolState]:
    """Draw examples that are not burnt; each one is looked at once.

    Args:
        burnt: Looks at examples and flags the burnt ones.

    Returns:
        The examples, and the state after, with the burnt ones marked.

    Raises:
        PatchFailed: Too few of the pool's examples are left that are not burnt.
    """
    taken: list[Behavior] = []
    lost: list[Behavior] = []
    while len(taken) < count:
        seen = {b.id for b in (*taken, *lost)}
        unseen = [b for b in pool if b.id not in seen]
        missing = count - len(taken)
        if lost and len(unseen) < missing:
            raise PatchFailed(
                f"{len(lost)} of the pool's {len(pool)} examples are burnt: this model was taught their refusals "
                "while it complies otherwise; write fresh harmful requests into the site's own pool, or repair with "
                "a recipe that goes back to the last known good checkpoint (restore-subspace, restore-tuned)"
            )
        drawn, state = draw(unseen, state, missing, key=key)
        flags = burnt(drawn)
        taken += [b for b, flag in zip(drawn, flags, strict=True) if not flag]
        lost += [b for b, flag in zip(drawn, flags, strict=True) if flag]
        state = burn(state, [b.id for b in lost])
    return tuple(taken), state
