"""Rankings from predicted effects."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from remediation.lessons.choice import alternatives, choose, ranked, worth
from remediation.lessons.influence import Influence


def influence_of(decrease: Sequence[Sequence[float]], harmless: Sequence[Sequence[float]] | None = None) -> Influence:
    effects = torch.tensor(decrease, dtype=torch.float64)
    return Influence(
        loss=torch.ones(len(effects), dtype=torch.float64),
        held_loss=torch.full((effects.shape[1],), 2.0, dtype=torch.float64),
        decrease=effects,
        harmless=torch.tensor(harmless or [[0.0, 0.0]] * len(effects), dtype=torch.float64),
    )


NONE = torch.zeros(2, dtype=torch.float64)
QUESTIONS_FIRST = [
    [2.9, 2.9, 0.0, 0.0],  # helps the two questions
    [2.4, 2.4, 0.0, 0.1],  # helps them nearly as much
    [0.0, 0.0, 1.6, 1.5],  # helps the two imperatives
    [0.0, 0.0, 0.0, 0.1],
]


def test_singles_rank_by_decrease_less_weighted_divergence() -> None:
    found = influence_of([[0.2, 0.4], [0.5, 0.5], [0.1, 0.1]], [[0.0, 0.0], [1.0, 1.0], [0.0, 0.2]])
    plain = ranked(found, benign_weight=0.0)
    assert [s.candidate for s in plain] == [1, 0, 2]
    assert plain[0].decrease == pytest.approx(0.5)
    assert plain[0].kl == pytest.approx(0.5)
    assert [s.candidate for s in ranked(found, benign_weight=1.0)] == [0, 2, 1]
    assert ranked(found, benign_weight=1.0)[1].value == pytest.approx(0.1 - 0.01 / 8 - 0.02 / 2)


def test_a_second_example_is_of_another_form() -> None:
    found = influence_of(QUESTIONS_FIRST)
    assert {s.candidate for s in ranked(found)[:2]} == {0, 1}, "singles alone would take two questions"
    chosen = choose(found, 2)
    assert set(chosen.candidates) in ({0, 2}, {1, 2})
    assert chosen.values[1] > worth(found.decrease[:2].mean(dim=0), NONE, found.held_loss, benign_weight=0)


def test_a_candidate_that_moves_harmless_answers_is_passed_over() -> None:
    harmless = [[3.0, 3.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert 0 not in choose(influence_of(QUESTIONS_FIRST, harmless), 2).candidates
    # opposite effects on harmless answers cancel
    pair = influence_of([[0.5, 0.5], [0.5, 0.5], [0.49, 0.49]], [[2.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    assert set(choose(pair, 2, benign_weight=1.0).candidates) in ({0, 2}, {1, 2})


def test_worth_is_the_parabola_less_the_divergence_and_the_best_dose_is_its_top() -> None:
    found = influence_of([[0.3, 0.1]], [[0.2, -0.4]])
    dose = choose(found, 1, benign_weight=3.0).dose

    def at(scale: float) -> float:
        moved, benign = scale * found.decrease[0], scale * found.harmless[0]
        value = worth(moved, benign, found.held_loss, benign_weight=3.0)
        expected = (moved - moved.square() / (4 * 2.0)).mean() - 3.0 * benign.square().mean() / 2
        assert value == pytest.approx(float(expected))
        return value

    assert all(at(dose + off) < at(dose) for off in (-0.1, 0.1))
    assert choose(influence_of([[-0.3, -0.1]]), 1).dose == 0.0


def test_a_step_that_overshoots_is_worth_less() -> None:
    loss = torch.tensor([2.0, 1.0], dtype=torch.float64)
    values = [worth(share * loss, NONE, loss, benign_weight=1.0) for share in (1.0, 2.0, 3.0, 4.0)]
    assert values == pytest.approx([1.125, 1.5, 1.125, 0.0]), "all of the loss at twice the loss, none at four times"


def test_one_asks_for_a_count_that_is_there() -> None:
    found = influence_of(QUESTIONS_FIRST)
    assert sorted(choose(found, 4).candidates) == [0, 1, 2, 3]
    for count in (0, 5):
        with pytest.raises(ValueError, match="of 4 candidates"):
            choose(found, count)


def test_alternatives_begin_with_the_best_singles_and_name_a_set_once() -> None:
    found = influence_of(QUESTIONS_FIRST)
    assert [c.candidates for c in alternatives(found, 1, 3)] == [(s.candidate,) for s in ranked(found)[:3]]
    pairs = alternatives(found, 2, 4)
    assert pairs[0].candidates == choose(found, 2).candidates, "the best by prediction comes first"
    assert len({frozenset(c.candidates) for c in pairs}) == len(pairs) < 4
    assert len(alternatives(found, 4, 3)) == 1
