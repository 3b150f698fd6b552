"""The streaming sketch against the Gram sums of gradients that are formed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from remediation.subspace.factor import Factors, overlap  # noqa: E402
from remediation.subspace.sketch import (  # noqa: E402
    Basis,
    Directions,
    Energy,
    Sketch,
    captured,
    merge,
    principal_cosines,
    stream_rows,
)

D_OUT, D_IN = 14, 10


def examples(seed: int, count: int, tokens: int = 5, planted: int = 3) -> list[Factors]:
    """Gradients that share ``planted`` directions on either side, and some noise."""
    made = torch.Generator().manual_seed(seed)
    u, v = (torch.randn(planted, width, generator=made) for width in (D_OUT, D_IN))
    found = []
    for _ in range(count):
        mix = torch.randn(2, tokens, planted, generator=made)
        noise = 0.2 * torch.randn(tokens, D_OUT, generator=made), 0.2 * torch.randn(tokens, D_IN, generator=made)
        found.append(Factors(d=mix[0] @ u + noise[0], x=mix[1] @ v + noise[1]))
    return found


def formed(factors: Factors) -> torch.Tensor:
    return factors.d.double().T @ factors.x.double()


def grams(given_: list[Factors], weights: list[float] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    weighed = list(zip(weights or [1.0] * len(given_), map(formed, given_), strict=True))
    return sum(w * g @ g.T for w, g in weighed), sum(w * g.T @ g for w, g in weighed)


def require_guarantee(side: Directions, gram: torch.Tensor) -> None:
    energies = torch.linalg.eigvalsh(gram).flip(0)
    whole = float(energies.sum())
    lost = torch.linalg.eigvalsh(gram - side.rows.double().T @ side.rows.double())
    rounding = 1e-5 * whole
    assert len(side.rows) <= side.size
    assert side.energy == pytest.approx(whole, rel=1e-5)
    assert float(lost[0]) >= -rounding
    assert float(lost[-1]) <= side.lowered + rounding
    for k in range(side.size):
        assert side.lowered <= float(energies[k:].sum()) / (side.size - k) + rounding


def sketched(given_: list[Factors], size: int) -> Sketch:
    found = Sketch.empty(D_OUT, D_IN, size)
    for factors in given_:
        found = found.added(factors)
    return found


def test_stream_rows_have_the_gram_matrices_of_the_gradient() -> None:
    one = examples(0, 1)[0]
    left, right = stream_rows(one)
    assert torch.allclose(left.T @ left, grams([one])[0], atol=1e-9)
    assert torch.allclose(right.T @ right, grams([one])[1], atol=1e-9)
    assert len(left) <= 5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 8), size=st.integers(2, 8))
def test_no_direction_loses_more_than_frequent_directions_allow(seed: int, count: int, size: int) -> None:
    given_ = examples(seed, count)
    found = sketched(given_, size)
    left, right = grams(given_)
    require_guarantee(found.left, left)
    require_guarantee(found.right, right)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 7), size=st.integers(2, 8))
def test_merged_sketches_keep_the_guarantee(seed: int, cut: int, size: int) -> None:
    given_ = examples(seed, 7)
    found = merge([sketched(given_[:cut], size), sketched(given_[cut:], size)])
    require_guarantee(found.left, grams(given_)[0])
    require_guarantee(found.right, grams(given_)[1])


def test_what_never_finds_room_at_once_is_still_found() -> None:
    """Cutting off the smallest instead of lowering all would lose the last direction for ever."""
    eye = torch.eye(D_IN)
    stream = [2.0 * eye[:3], *[eye[3:4]] * 20]
    found = Directions.empty(D_IN, 3)
    for rows in stream:
        found = found.added(rows)
    rows = torch.cat(stream).double()
    require_guarantee(found, rows.T @ rows)


def test_what_fades_weighs_less_and_keeps_the_guarantee() -> None:
    given_ = examples(4, 6)
    found = Sketch.empty(D_OUT, D_IN, 4)
    for factors in given_:
        found = found.faded(0.5).added(factors)
    weights = [0.5 ** (len(given_) - 1 - i) for i in range(len(given_))]
    require_guarantee(found.left, grams(given_, weights)[0])
    assert found.left.lowered > 0


def test_a_sketch_with_room_for_all_loses_nothing() -> None:
    given_ = examples(1, 2, tokens=3)
    found = sketched(given_, 8)
    assert found.left.lowered == 0.0
    assert torch.allclose(found.right.rows.double().T @ found.right.rows.double(), grams(given_)[1], atol=1e-4)


def test_a_weight_counts_in_energy() -> None:
    one = examples(2, 1)[0]
    found = Sketch.empty(D_OUT, D_IN, 8).added(one, weight=3.0)
    assert found.left.energy == pytest.approx(3 * float(formed(one).square().sum()), rel=1e-6)


def test_opposite_gradients_count_both() -> None:
    """Their mean is zero, and says nothing."""
    one = examples(5, 1)[0]
    found = sketched([one, Factors(d=-one.d, x=one.x)], 8)
    assert captured(one, found.basis(8)).both == pytest.approx(float(formed(one).square().sum()), rel=1e-5)


def test_energy_inside_a_basis_is_that_of_the_formed_gradient() -> None:
    seen, new = examples(3, 6), examples(7, 1)[0]
    basis = sketched(seen, 6).basis(3)
    g, u, v = formed(new), basis.u.double(), basis.v.double()
    found = captured(new, basis)
    assert found.whole == pytest.approx(float(g.square().sum()))
    assert found.left == pytest.approx(float((u.T @ g).square().sum()))
    assert found.right == pytest.approx(float((g @ v).square().sum()))
    assert found.both == pytest.approx(float((u.T @ g @ v).square().sum()))


def test_shared_directions_are_found_and_others_are_not() -> None:
    shared, apart = examples(11, 12), examples(99, 1)[0]
    basis = sketched(shared[:10], 8).basis(3)
    inside = [captured(f, basis) for f in shared[10:]]
    assert min(e.both / e.whole for e in inside) > 0.9
    strange = captured(apart, basis)
    assert strange.both / strange.whole < 0.6


def test_energies_add_up() -> None:
    one = Energy(whole=4.0, left=3.0, right=2.0, both=1.0)
    assert one + one.scaled(0.5) == one.scaled(1.5)


def test_an_empty_sketch_has_no_directions() -> None:
    basis = Sketch.empty(D_OUT, D_IN, 4).basis(2)
    assert basis.u.shape == (D_OUT, 0)
    assert captured(examples(0, 1)[0], basis).both == 0.0
    nothing = Factors(d=torch.zeros(3, D_OUT), x=torch.zeros(3, D_IN))
    assert len(Sketch.empty(D_OUT, D_IN, 4).added(nothing).left.rows) == 0


def test_bases_are_orthonormal_also_of_few_rows() -> None:
    basis = sketched(examples(6, 1, tokens=2), 8).basis(5)
    assert isinstance(basis, Basis)
    assert torch.allclose(basis.u.T @ basis.u, torch.eye(2), atol=1e-5)


def test_principal_cosines_give_the_overlap() -> None:
    made = torch.Generator().manual_seed(0)
    first, second = (torch.linalg.qr(torch.randn(12, r, generator=made))[0] for r in (4, 3))
    cosines = principal_cosines(first, second)
    assert float(cosines.square().mean()) == pytest.approx(overlap(first, second), rel=1e-5)
    assert float(principal_cosines(first, first).min()) == pytest.approx(1.0, abs=1e-6)


def test_sketches_of_other_sizes_are_not_merged() -> None:
    with pytest.raises(ValueError, match="sketches of 4 and of 5 rows"):
        Directions.empty(3, 4).merged(Directions.empty(3, 5))
