"""What lasts, told when it begins and ends: a frozen judge, a target out of reach, servers that hold other weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.checks import Checks
from monitor.letter import Condition
from monitor.mending import Mending
from monitor.notifier import Kind, Notification, Severity
from monitor.outbox import Outbox
from monitor.pausing import pause_in_force
from monitor.plain_text import plain
from monitor.prober import Prober
from monitor.store import Store
from monitor.view import View

__all__ = ["Lookout"]

_TITLE, _TEXT = 160, 600
_LASTS = {
    Kind.JUDGE_FROZEN: timedelta(0), Kind.DEPLOYMENT_MISMATCH: timedelta(minutes=5),
    Kind.TARGET_UNREACHABLE: timedelta(minutes=15),
}  # fmt: skip
"""As long as a condition has to last before it is told: a restart of a server is no news."""
_WORDS = {
    Kind.JUDGE_FROZEN: ("the judge is frozen", "the judge counts again"),
    Kind.DEPLOYMENT_MISMATCH: ("a server holds other weights than it should", "servers hold what they should"),
    Kind.TARGET_UNREACHABLE: ("no usable answer", "answers again"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """How a condition stands now; one of which nothing is known is not there."""

    condition: Condition
    holds: bool
    text: str = ""


class Lookout:
    """Compares what is seen with what was told; what was told is in the store, and a restart repeats nothing."""

    def __init__(
        self, *, store: Store, clock: Callable[[], datetime], prober: Prober, checks: Checks, mending: Mending,
        outbox: Outbox,
    ) -> None:  # fmt: skip
        """Take what sees, and what tells."""
        self._store = store
        self._clock = clock
        self._prober = prober
        self._checks = checks
        self._mending = mending
        self._outbox = outbox
        self._since: dict[Condition, datetime] = {}

    async def round(self, _: str = "") -> None:
        """Look at all targets, and tell what has begun or ended."""
        told = self._store.conditions()
        for condition in told:
            if condition.target not in self._prober.sites:
                self._end(_Seen(condition=condition, holds=False, text="it is no longer watched"))
        for name in self._prober.sites:
            self._look(name, {c for c in told if c.target == name})

    def _end(self, seen: _Seen) -> None:
        self._store.post(self._outbox.letters(_notification(seen, self._clock())), ended=[seen.condition])

    def _look(self, name: str, told: set[Condition]) -> None:
        now = self._clock()
        for seen in self._seen(name, told, now):
            condition = seen.condition
            if not seen.holds:
                self._since.pop(condition, None)
                if condition in told:
                    self._end(seen)
                continue
            since = self._since[condition] = min(self._since.get(condition, now), now)  # the clock may be set back
            if condition not in told and now - since >= _LASTS[condition.kind]:
                self._store.post(self._outbox.letters(_notification(seen, now)), began=[condition])

    def _seen(self, name: str, told: set[Condition], now: datetime) -> Iterator[_Seen]:
        frozen = Condition(target=name, kind=Kind.JUDGE_FROZEN)
        if why := self._checks.frozen(name):
            yield _Seen(condition=frozen, holds=True, text=why)
        elif self._checks.judge(name) is not None:
            yield _Seen(condition=frozen, holds=False)
        view, away = self._prober.views[name], Condition(target=name, kind=Kind.TARGET_UNREACHABLE)
        if not view.up and (view.quarantine or pause_in_force(self._store, name, now)):
            self._since.pop(away, None)  # nobody is asked; the count begins anew when somebody is
        elif view != View():
            yield _Seen(condition=away, holds=not view.up, text=view.why)
        if (served := self._mending.served.get(name)) is not None:
            wrong = {s.replica: f"{s.replica}: {s.mismatch}" for s in served if s.mismatch}
            there = {c.subject for c in told if c.kind is Kind.DEPLOYMENT_MISMATCH} | {s.replica for s in served}
            for replica in sorted(there):
                condition = Condition(target=name, kind=Kind.DEPLOYMENT_MISMATCH, subject=replica)
                yield _Seen(condition=condition, holds=replica in wrong, text=wrong.get(replica, replica))


def _notification(seen: _Seen, now: datetime) -> Notification:
    condition, words = seen.condition, _WORDS[seen.condition.kind]
    word = "begins" if seen.holds else "ends"
    subject = f".{condition.subject}" if condition.subject else ""
    return Notification(
        id=plain(f"{condition.target}.{condition.kind.value}{subject}.{now:%Y%m%dT%H%M%SZ}.{word}", most=_TEXT),
        kind=condition.kind, severity=Severity.CRITICAL, at=now, target=condition.target,
        title=plain(f"{condition.target}: {words[not seen.holds]}", most=_TITLE),
        text=plain(seen.text or "it is over", most=_TEXT), resolved=not seen.holds,
    )  # fmt: skip
