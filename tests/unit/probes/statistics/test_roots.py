"""The root finder: against scipy's, never inside, in few steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from probes.statistics.roots import crossing

SHAPES: dict[str, Callable[[float, float], float]] = {
    "line": lambda m, root: m - root,
    "steep": lambda m, root: math.expm1(40 * (m - root)),
    "square": lambda m, root: m * m - root * root,
    "edge": lambda m, root: math.log(1 - root + 1e-12) - math.log(1 - m + 1e-12),
    "bent": lambda m, root: 1e6 * (m - root) if m > root else 1e-6 * (m - root),
}


@pytest.mark.parametrize("shape", SHAPES)
@given(root=st.floats(0.01, 0.99))
def test_it_is_where_another_root_finder_says(shape: str, root: float) -> None:
    asked = []

    def excess(m: float) -> float:
        asked.append(m)
        return SHAPES[shape](m, root)

    found = crossing(excess, 0.0, 1.0)
    assert found == pytest.approx(brentq(lambda m: SHAPES[shape](m, root), 0.0, 1.0, xtol=1e-13), abs=1e-10)
    assert SHAPES[shape](found, root) >= -1e-9, "never inside, but for rounding"
    assert len(asked) <= 80


@given(st.floats(0.01, 0.99))
def test_it_goes_downwards_as_well(root: float) -> None:
    assert crossing(lambda m: root - m, 1.0, 0.0) == pytest.approx(root, abs=1e-10)


def test_an_end_that_is_the_root_is_given_back() -> None:
    assert crossing(lambda m: m - 1.0, 0.0, 1.0) == 1.0


def test_a_root_close_to_the_end_is_found() -> None:
    assert crossing(lambda m: m - 0.99999, 0.0, 1.0) == pytest.approx(0.99999, abs=1e-10)
