"""Steps on made-up gradients, and the search for a dose."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from remediation.subspace.factor import Factors, factored_svd  # noqa: E402
from remediation.subspace.step import Rule, Steps, averaged, scaled, smallest_dose  # noqa: E402


def factors(seed: int = 0, tokens: int = 12) -> dict[str, Factors]:
    torch.manual_seed(seed)
    decay = torch.logspace(0, -2, tokens)[:, None]
    return {"m": Factors(d=torch.randn(tokens, 30) * decay, x=torch.randn(tokens, 20))}


def change(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return pair[1] @ pair[0]


def test_a_raw_step_is_the_gradients_best_part_downhill() -> None:
    given = factors()
    found = Steps(rank=3, rule=Rule.RAW).direction(given)["m"]
    assert torch.allclose(change(found), -factored_svd(given["m"]).lead(3).matrix(), atol=1e-5)


@pytest.mark.parametrize("rule", list(Rule))
def test_with_gains_every_rule_moves_as_far_and_keeps_its_rank(rule: Rule) -> None:
    found = Steps(rank=4, rule=rule, gains={"m": 0.5}).direction(factors())["m"]
    values = torch.linalg.svdvals(change(found))
    assert float(values.norm()) == pytest.approx(0.5 * 4**0.5, rel=1e-4)
    assert float(values[4]) < 1e-5
    assert float((change(found) * (factors()["m"].d.T @ factors()["m"].x)).sum()) < 0, "downhill"
    assert torch.allclose(found[0] @ found[0].T, torch.eye(4), atol=1e-5)


def test_a_spectral_step_has_equal_singular_values() -> None:
    values = torch.linalg.svdvals(change(Steps(rank=4, gains={"m": 0.5}).direction(factors())["m"]))
    assert torch.allclose(values[:4], torch.full((4,), 0.5), atol=1e-5)


def test_a_one_sided_step_moves_the_outputs_against_their_gradient() -> None:
    given = factors()["m"]
    found = Steps(rank=12, rule=Rule.ONE_SIDED).direction({"m": given})["m"]
    moved = given.x @ change(found).T
    assert (moved + given.d).norm() / given.d.norm() < 0.1


def test_modules_without_a_gain_or_a_gradient_stay() -> None:
    given = {**factors(), "other": factors()["m"], "still": Factors(d=torch.zeros(5, 4), x=torch.randn(5, 6))}
    assert set(Steps(rank=2, gains={"m": 1.0, "still": 1.0}).direction(given)) == {"m"}


def test_steps_add_up_and_are_cut_to_the_rank() -> None:
    steps = Steps(rank=4, rule=Rule.RAW)
    assert steps.adapter() == {}
    total = torch.zeros(30, 20)
    for seed in range(3):
        direction = steps.direction(factors(seed))
        trial = change(steps.trial(direction, 0.5)["m"])
        steps.move(direction, 0.5)
        u, s, vh = torch.linalg.svd(trial)
        assert torch.allclose(change(steps.adapter()["m"]), (u[:, :4] * s[:4]) @ vh[:4], atol=1e-5)
        total = change(steps.adapter()["m"])
    assert int((torch.linalg.svdvals(total) > 1e-5).sum()) == 4
    assert torch.allclose(change(scaled(steps.adapter(), 3.0)["m"]), 3 * total, atol=1e-4)


def test_smallest_dose_bisects() -> None:
    asked: list[float] = []
    found = smallest_dose(lambda t: asked.append(t) or t >= 0.3, upper=1.0, within=1 / 32)
    assert found is not None
    assert 0.3 <= found <= 0.3 + 1 / 32
    assert len(asked) == 6
    assert smallest_dose(lambda t: t >= 1.2, lower=1.0, upper=1.5, within=1 / 16) == 1.25
    assert smallest_dose(lambda _: True, lower=1.0, upper=1.0, within=0.1) == 1.0
    assert smallest_dose(lambda _: False, upper=1.0, within=0.1) is None


def test_a_mean_of_changes_is_cut_to_the_rank() -> None:
    each = [Steps(rank=4, rule=Rule.RAW).direction(factors(seed)) for seed in range(3)]
    u, s, vh = torch.linalg.svd(torch.stack([change(one["m"]) for one in each]).mean(0))
    found = averaged([{"m": (a.bfloat16(), b.bfloat16())} for one in each for a, b in one.values()], 4)["m"]
    wanted = (u[:, :4] * s[:4]) @ vh[:4]
    assert float((change(found) - wanted).norm() / wanted.norm()) < 0.02, "as near as bfloat16 parts allow"
    assert torch.allclose(found[0] @ found[0].T, torch.eye(4), atol=1e-5)
    same = averaged([each[0], each[0]], 4)["m"]
    assert torch.allclose(change(same), change(each[0]["m"]), atol=1e-5)
