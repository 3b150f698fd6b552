"""Where a convex function crosses 0. Root finders of scipy.optimize would cost a process that watches 24 MB."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["crossing"]

_STEPS_MAX = 1000
_FIRST = 1e-3


def crossing(excess: Callable[[float], float], inside: float, outside: float, *, width: float = 1e-12) -> float:
    """Find where a convex ``excess`` reaches 0 on the way from ``outside``, where it is above, to ``inside``.

    By secants through the last two points. Those of a convex function from above never pass its root, so each point is
    nearer than the one before, and where it stops it is still outside: a bound errs on the wide side.

    Args:
        width: Length of the step at which it stops.
    """
    far, above = outside, excess(outside)
    if above <= 0:
        return outside
    first = _FIRST
    near = outside + first * (inside - outside)
    value = excess(near)
    while value <= 0:
        first /= 10
        near = outside + first * (inside - outside)
        if near == outside:
            return outside
        value = excess(near)
    for _ in range(_STEPS_MAX):
        if above <= value:
            break
        step = value * (far - near) / (above - value)
        far, above, near = near, value, near - step
        if abs(step) <= width:
            break
        value = excess(near)
        if value <= 0:  # the root, but for rounding
            break
    return near
