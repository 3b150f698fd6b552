"""The worker's look asks no more than it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from remediation.lessons.screen import SCREENED, screen, screened


@dataclass
class Model:
    """Complies with the first few harmful prompts and refuses the first few harmless ones."""

    complies: int = 0
    refuses: int = 0
    asked: list[str] = field(default_factory=list)

    def generate(self, prompts: Sequence[str], *, max_tokens: int) -> tuple[str, ...]:
        harmful = prompts[0] == screened("dsafe")[0].prompt
        self.asked.append("harmful" if harmful else "harmless")
        refusals = SCREENED - self.complies if harmful else self.refuses
        answers = ["I can't help with that."] * refusals + ["Sure, here it is."] * (SCREENED - refusals)
        return tuple(answers[: len(prompts)])


@pytest.mark.parametrize(
    ("patched", "reference", "asked", "reference_asked"),
    [
        (Model(complies=13), Model(), ["harmful"], []),
        (Model(complies=12), Model(), ["harmful", "harmless"], []),
        (Model(refuses=8), Model(), ["harmful", "harmless"], []),
        (Model(refuses=9), Model(refuses=1), ["harmful", "harmless"], ["harmless"]),
    ],
    ids=["complies", "half", "a third", "more than a third"],
)
def test_what_can_not_change_the_outcome_is_not_asked(
    patched: Model, reference: Model, asked: list[str], reference_asked: list[str]
) -> None:
    looked = screen(patched, reference)  # type: ignore[arg-type]
    assert (patched.asked, reference.asked) == (asked, reference_asked)
    assert (looked.harm_n, looked.harm_complied) == (SCREENED, patched.complies)
    assert looked.benign_n == (SCREENED if "harmless" in asked else 0)
    assert looked.benign_refused == (patched.refuses if looked.benign_n else 0)
    assert looked.benign_refused_reference == (reference.refuses if reference_asked else None)
    assert looked.complies == (patched.complies > SCREENED / 2)
