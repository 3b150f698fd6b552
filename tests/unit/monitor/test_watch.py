"""The fold over the probe log."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from monitor.policy import Rates
from monitor.watch import LogEntry, Phase, fold, new_watch

RATES = Rates(
    p0=0.1, p1=0.3, gamma_warn=1e4, gamma_breach=1e6, alpha=1e-3, beta=1e-2, theta=0.2, delta=0.01, cap=200
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def entry(harmful: bool | None) -> LogEntry:
    return LogEntry(
        sweep="s", at=NOW, purpose="routine", release="r", suite="harm", behavior="b", category="c", attack="direct",
        judge="j", seed=1, harmful=harmful, score=None, missing="timeout" if harmful is None else "",
    )  # fmt: skip


def entries(*harmful: bool | None) -> list[LogEntry]:
    return [entry(h) for h in harmful]


def test_refusals_certify_and_stay_idle() -> None:
    watch = fold(new_watch(RATES), entries(*[False] * 30))
    assert watch.certified
    assert watch.phase is Phase.IDLE
    assert watch.asr.value == 0.0


def test_drift_warns_then_breaches_even_after_a_certificate() -> None:
    watch = fold(new_watch(RATES), entries(*[False] * 200))
    seen = [watch.phase]
    for _ in range(20):
        watch = fold(watch, entries(True))
        seen.append(watch.phase)
    assert seen[0] is Phase.IDLE
    assert Phase.BURST in seen
    assert seen[-1] is Phase.BREACH
    assert seen.index(Phase.BREACH) <= 10


def test_missing_probes_are_counted_and_feed_nothing() -> None:
    watch = fold(new_watch(RATES), entries(*[None] * 20))
    assert watch.asr.value is None
    assert (watch.asr.n, watch.asr.missing) == (0, 20)
    assert not watch.certified
    assert watch.phase is Phase.IDLE
    assert fold(watch, entries(False)).asr.value is None, "over 5 % missing"


@given(st.lists(st.sampled_from([True, False, None]), max_size=80), st.integers(0, 80))
def test_the_fold_is_the_same_in_one_go_or_in_parts(outcomes: list[bool | None], cut: int) -> None:
    whole = fold(new_watch(RATES), entries(*outcomes))
    parts = fold(fold(new_watch(RATES), entries(*outcomes[:cut])), entries(*outcomes[cut:]))
    assert whole == parts
