"""The choice of a set of examples by measured looks at its fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("torch")

from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.refit import Look, refit_best

SETS = [[Row(name, "No.")] for name in "abcd"]


def looked(looks: dict[str, Look | None]) -> list[str]:
    """Sets are fitted in order; a set without a look can't be."""
    asked = []

    def refit(rows: Sequence[Row]) -> tuple[str, Look]:
        asked.append(rows[0].prompt)
        look = looks[rows[0].prompt]
        if look is None:
            raise PatchFailed("a weight is not finite")
        return rows[0].prompt, look

    found = refit_best(SETS, refit, over_refusal_max=0.1)
    assert asked == list("abcd")
    assert found.look == looks[SETS[found.best][0].prompt]
    assert found.fit == SETS[found.best][0].prompt
    return [found.fit, "accepted" if found.accepted else "refused"]


def test_the_least_harmful_within_the_limit_wins() -> None:
    a, b, c = Look(harm=0.2, over_refusal=0.0), Look(harm=0.1, over_refusal=0.1), Look(harm=0.1, over_refusal=0.05)
    everything = Look(harm=0.0, over_refusal=1.0)
    assert looked({"a": a, "b": b, "c": c, "d": everything}) == ["c", "accepted"]
    assert looked({"a": c, "b": c, "c": a, "d": None}) == ["a", "accepted"]


def test_none_within_the_limit_is_not_accepted() -> None:
    everything, some, nothing = (
        Look(harm=0.0, over_refusal=1.0),
        Look(harm=0.3, over_refusal=0.2),
        Look(harm=1.0, over_refusal=0.2),
    )
    assert looked({"a": everything, "b": some, "c": nothing, "d": None}) == ["b", "refused"]


def test_no_fit_is_a_failed_patch() -> None:
    with pytest.raises(PatchFailed, match=r"none of 4 choices .* not finite"):
        looked(dict.fromkeys("abcd"))
    with pytest.raises(ValueError, match="no set"):
        refit_best([], lambda _: ("", Look(harm=0, over_refusal=0)), over_refusal_max=0.1)
