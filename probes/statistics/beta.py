"""The regularized incomplete beta function and its inverse; scipy.special would cost a process that watches 18 MB."""

from __future__ import annotations

import math

__all__ = ["betainc", "betaincinv"]

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_STIRLING_FROM = 10.0
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_TINY = 1e-300
_STEPS_MAX = 100_000
_NEWTON_MAX = 200
_EPSILON = 3e-16
_LOG_LEAST, _P_LEAST = -700.0, 1e-290


def betainc(a: float, b: float, x: float) -> float:
    """Regularized incomplete beta function I_x(a, b): the chance that a Beta(a, b) variable is at most x.

    By the continued fraction of DLMF 8.17.22, which converges in some sqrt(a + b) steps left of the mean; right of it
    by I_x(a, b) = 1 - I_{1-x}(b, a). Agrees with scipy to 1e-12 of the value up to a + b = 1e4, to 1e-10 up to 1e6.

    Args:
        a: Above 0.
        b: Above 0.
        x: In [0, 1].

    Raises:
        ValueError: One is out of its range.
        ArithmeticError: a + b is beyond some 1e9.
    """
    if not (a > 0 and b > 0 and 0 <= x <= 1):
        raise ValueError(f"I_x(a, b) with a = {a}, b = {b}, x = {x}: a and b must be above 0, x must lie in [0, 1]")
    return math.exp(_log_betainc(a, b, x, 1 - x)[0])


def betaincinv(a: float, b: float, p: float) -> float:
    """Quantile of Beta(a, b): the x with I_x(a, b) = p.

    By Newton's steps for log I over log x, which is concave: each ends left of the root, wherever it began, so from the
    second on they only go up, and where they no longer do the root is found.

    Args:
        a: At least 1; below that the density is not log-concave.
        b: At least 1.
        p: From 1e-290 to below 1.

    Raises:
        ValueError: One is out of its range.
    """
    if not (a >= 1 and b >= 1 and _P_LEAST <= p < 1):
        raise ValueError(f"quantile {p} of Beta({a}, {b}): a and b must be at least 1, p must lie in [{_P_LEAST}, 1)")
    wanted, at = math.log(p), math.log(a / (a + b))
    for step in range(_NEWTON_MAX):
        y = -math.expm1(at)
        value, front = _log_betainc(a, b, math.exp(at), y)
        after = at - (value - wanted) * y * math.exp(value - front)
        after = max(_LOG_LEAST, min(after, at / 2))
        if step and after <= at:
            break
        at = after
    return math.exp(at)


def _log_betainc(a: float, b: float, x: float, y: float) -> tuple[float, float]:
    """Return log I_x(a, b) and the log of x^a y^b / B(a, b), where y = 1 - x."""
    if x == 0 or y == 0:
        return (-math.inf if x == 0 else 0.0), -math.inf
    front = _log_front(a, b, x, y)
    if x <= (a + 1) / (a + b + 2):
        return front + math.log(_fraction(a, b, x) / a), front
    return math.log1p(-math.exp(front) * _fraction(b, a, y) / b), front


def _log_front(a: float, b: float, x: float, y: float) -> float:
    """Log of x^a y^b / B(a, b), from how far x lies from the mean: large logs that cancel are never formed."""
    n = a + b
    far = x * n - a if a <= b else b - y * n
    near = a * _log_less(far / a, x, n / a) + b * _log_less(-far / b, y, n / b)
    return near + 0.5 * math.log(a * b / n) - _HALF_LOG_2PI - _stirling(a) - _stirling(b) + _stirling(n)


def _log_less(e: float, part: float, times: float) -> float:
    """Log of ``part`` times ``times``, which is 1 + e, less e."""
    return (math.log1p(e) if e > -0.5 else math.log(part) + math.log(times)) - e


def _stirling(z: float) -> float:
    """What Stirling's formula lacks of log Gamma(z) (DLMF 5.11.1)."""
    if z < _STIRLING_FROM:
        return math.lgamma(z) - (z - 0.5) * math.log(z) + z - _HALF_LOG_2PI
    square, total = 1 / (z * z), 0.0
    for c in reversed(_STIRLING):
        total = total * square + c
    return total / z


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, from its front end on (Lentz's method as Thompson & Barnett 1986 give it)."""
    c, d = 1.0, 1 / _away_from_0(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS_MAX):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_0(1 + term * d)
            c = _away_from_0(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _EPSILON:
            return value
    raise ArithmeticError(f"I_x({a}, {b}) at x = {x} takes more than {_STEPS_MAX} steps")


def _away_from_0(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
