"""How much a prober may send: decided from the server's own figures, or from how long a token takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from probes.target import Load

__all__ = ["PROBATION_SECONDS", "STEP_SECONDS", "Rules", "Window", "next_window"]

_BESIDE_USERS, _BLIND = (1.03, 1.15), (1.5, 3.0)
"""How much slower the server may be with probes than without them: up to the first the window grows, from the second on
it shrinks. Where users can be seen it is the time to first token that is compared, else seconds per token."""
STEP_SECONDS = 5.0
"""Beside users the window grows at most this often: each step is a trial at their expense."""
PROBATION_SECONDS = 2.0
"""So long after the start users count as there: one look between two of their requests proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a prober may take of a server.

    Attributes:
        concurrency: Most requests in flight, where nobody else is there.
        yields: Whether to give way to users; if not, the window is as wide as ``concurrency`` at all times.
        kv_cache_max: Above this share of the KV cache in use, the window shrinks.
        users_share: Share of the time in which one probe may be in flight beside users, to begin with and at least.
        quiet_seconds: So long after the last sign of users the server counts as free.
        look_seconds: Time between two looks at the server's figures.
        least_seconds: One probe in this time is sent in any case: a prober that yields for ever is blind.
        requests_per_minute: Hard bound, ``None`` for none.
        tokens_per_day: Hard bound on prompt and reply tokens in 24 hours (UTC days), ``None`` for none.
    """

    concurrency: int = 8
    yields: bool = True
    kv_cache_max: float = 0.8
    users_share: float = 0.05
    quiet_seconds: float = 10.0
    look_seconds: float = 0.5
    least_seconds: float = 30.0
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How much may be sent now.

    Attributes:
        limit: Requests that may be in flight; a fraction is one of them for that share of the time, 0 none.
        users_seen_at: When users were last noticed, in seconds of the monotonic clock; ``None`` for never.
        hold_until: The window does not grow before this, in seconds of the same clock.
    """

    limit: float
    users_seen_at: float | None = None
    hold_until: float = 0.0

    def users(self, now: float, rules: Rules) -> bool:
        """Whether users count as there."""
        return self.users_seen_at is not None and now - self.users_seen_at < rules.quiet_seconds


def next_window(
    window: Window, rules: Rules, *, load: Load | None, others: int, slowdown: float | None, now: float
) -> Window:
    """Decide what may be sent after a look at the server. Pure.

    Args:
        load: The server's figures; ``None`` where it shows none.
        others: Requests of others seen in flight, waiting or ended since the last look.
        slowdown: How much slower the server is with probes than without; ``None`` where there is too little to say.
        now: Seconds of the monotonic clock.
    """
    if load is None:
        return window if window.users(now, rules) else _blind(window, rules, slowdown, now=now)
    looked = replace(window, users_seen_at=now) if others > 0 else window
    if load.kv_cache_ratio > rules.kv_cache_max:
        return replace(looked, limit=min(window.limit, rules.concurrency) / 2)
    if not looked.users(now, rules):
        return replace(looked, limit=min(float(rules.concurrency), max(1.0, 2 * window.limit)))
    if load.waiting > 0:
        return replace(looked, limit=0.0)
    if not window.users(now, rules):
        return replace(looked, limit=rules.users_share, hold_until=now + STEP_SECONDS)
    return _beside_users(looked, rules, slowdown, now=now)


def _beside_users(window: Window, rules: Rules, slowdown: float | None, *, now: float) -> Window:
    """Begin with a small share of the time; take more, step by step, only as long as users don't feel it."""
    limit = min(float(rules.concurrency), max(rules.users_share, window.limit))
    fine, bad = _BESIDE_USERS
    if slowdown is not None and slowdown >= bad and limit > rules.users_share:
        return replace(window, limit=max(rules.users_share, limit / 2), hold_until=now + 12 * STEP_SECONDS)
    if slowdown is not None and slowdown <= fine and now >= window.hold_until:
        wider = min(1.0, 1.5 * limit) if limit < 1 else limit + 1
        return replace(window, limit=min(float(rules.concurrency), wider), hold_until=now + STEP_SECONDS)
    return replace(window, limit=limit)


def _blind(window: Window, rules: Rules, slowdown: float | None, *, now: float) -> Window:
    """Double while tokens come quickly, halve where they don't."""
    limit = max(1.0, window.limit)
    fine, bad = _BLIND
    if slowdown is not None and slowdown >= bad:
        return replace(window, limit=max(1.0, limit / 2))
    if slowdown is not None and slowdown <= fine and now >= window.hold_until:
        return replace(window, limit=min(float(rules.concurrency), 2 * limit))
    return replace(window, limit=limit)
