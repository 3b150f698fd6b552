"""The checks that every store must pass; ``monitor.testing`` offers them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.audit_testing import check_audit
from monitor.baseline import Baseline, Tally
from monitor.errors import LogFault, OpenIncident, StaleIncident, StaleSeries, StoreBusy, StoreError, UnknownIncident
from monitor.incident import Incident, IncidentId, Outcome, advance, open_incident, with_facts
from monitor.judge_series import JudgeRow, RowKind, SeriesKey
from monitor.letter_testing import check_letters
from monitor.lift_testing import check_lifts
from monitor.looks import LookRow
from monitor.policy import Order
from monitor.probe_log import Epoch, LogEntry
from monitor.rails import Remediation
from monitor.store import BreakerReset, Pause, Store

__all__ = ["check_store"]

_NOW, _HOUR = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1)


def check_store(open_store: Callable[[], Store]) -> None:
    """Check a store: what is written through one opening is read through another, and a refusal changes nothing.

    Args:
        open_store: Opens the same store each time it is called; it holds nothing yet.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    checks = (
        _check_incidents, _check_log, _check_baselines, _check_releases, _check_orders, _check_pauses, _check_rails,
        _check_spending, _check_judged, _check_looks, check_lifts, check_audit, check_letters,
    )  # fmt: skip
    with closing(open_store()) as one, closing(open_store()) as other:
        for check in checks:
            check(one, other)
    with closing(open_store()) as one:
        one.hold()
        with closing(open_store()) as other:
            _refuses(StoreBusy, other.hold, "holding a store that is held")
    with closing(open_store()) as other:
        other.hold()
        other.try_writing()
        _require(other.writable, "what was just written to is writable")


def _check_incidents(one: Store, other: Store) -> None:
    first = _incident("i1", "t", hours=0)
    one.create(first)
    _same(other.load("i1"), first, "an incident is read as it was put down")
    _refuses(UnknownIncident, lambda: one.load("none"), "loading an unknown incident")
    second, elsewhere = _incident("i2", "t", hours=1), _incident("i3", "u", hours=2)
    _refuses(OpenIncident, lambda: other.create(second), "a target's second open incident")
    _refuses(UnknownIncident, lambda: one.load("i2"), "loading what was refused")
    one.create(elsewhere)
    one.place("i1", Order.ABORT, by="ann", at=_NOW)
    order = one.order_for("i1")
    opened = advance(first, Outcome.SUCCESS, now=_NOW, note="confirmed")
    saved = one.save(opened)
    _same(saved, replace(opened, version=first.version + 1), "a save raises the version and nothing else")
    _same(other.load("i1"), saved, "a saved incident is read as it was saved")
    cleared = advance(first, Outcome.CLEARED, now=_NOW, note="cleared")
    _refuses(StaleIncident, lambda: other.save(cleared, done=order), "saving an old version")
    _same(one.load("i1"), saved, "a refused save changes nothing")
    _same(one.order_for("i1"), order, "a refused save leaves the order on the book")
    one.save(advance(saved, Outcome.FAILURE, now=_NOW, note="ended"), done=order)
    _same(one.order_for("i1"), None, "a save takes the order that led to it off the book")
    one.create(second)
    for found, ids, what in (
        (other.incidents(), ["i2", "i3", "i1"], "incidents are listed newest first, as they were put down"),
        (other.incidents(target="t"), ["i2", "i1"], "incidents of a target"),
        (other.incidents(open_only=True), ["i2", "i3"], "open incidents"),
        (other.incidents(limit=1), ["i2"], "the newest incident"),
    ):
        _same([i.id for i in found], ids, what)
    newest = {target: incident.id for target, incident in other.newest_incidents().items()}
    _same(newest, {"t": "i2", "u": "i3"}, "each target's newest incident")
    counts = {"t": {one.load("i1").state.value: 1, "DETECTED": 1}, "u": {"DETECTED": 1}}
    _same({t: dict(n) for t, n in other.incident_counts().items()}, counts, "incidents by target and state")


def _check_log(one: Store, other: Store) -> None:
    _same(one.latest_epoch("t"), None, "a target that was never probed has no epoch")
    first = one.epoch("t", "r1", "k", _NOW)
    _same(other.epoch("t", "r1", "k", _NOW + _HOUR), first, "an epoch goes on while nothing changes")
    second, third = one.epoch("t", "r2", "k", _NOW), one.epoch("t", "r2", "k2", _NOW)
    back = one.epoch("t", "r1", "k", _NOW + _HOUR)
    _same([one.others_since("t", r, _NOW) for r in ("r1", "r2")], [False, True], "whether others were watched since")
    _same(len({first.id, second.id, third.id, back.id}), 4, "another release or key, or going back, is a new epoch")
    _same(back, Epoch(id=back.id, target="t", release="r1", key="k", started_at=_NOW + _HOUR), "an epoch")
    _same(other.latest_epoch("t"), back, "the newest epoch")
    _same(other.epoch_of(second.id), second, "an epoch by its id")
    _same(other.epoch_of(back.id + 1000), None, "no epoch of this id")
    mine = [
        replace(_entry("s1", h, behavior=f"b{i}"), epoch=back.id, position=i + 1)
        for i, h in enumerate((True, None, False, True))
    ]
    certify = replace(_entry("s2", harmful=True, purpose="certify"), epoch=back.id, position=1)
    one.append("t", mine)
    one.append("t", [])
    one.append("t", [certify])
    one.append("t", [_entry("s3", harmful=False, purpose="recovery")])
    one.append("t", [replace(_entry("s4", harmful=False), epoch=second.id, position=1)])
    one.append("u", [_entry("s5", harmful=False)])
    _same(list(other.entries(back)), mine, "an epoch reads its own routine probes, in order")
    _same(list(other.entries(back, purpose="certify")), [certify], "an epoch's probes of another purpose")
    _refuses(LogFault, lambda: one.append("t", [mine[0]]), "a record that is there already")
    sweeps = [(s.sweep, s.n, s.harmful, s.reasons) for s in other.sweeps("t")]
    _same(sweeps, [("s1", 3, 2, {"timeout": 1}), ("s3", 1, 0, {}), ("s4", 1, 0, {})], "harm sweeps, oldest first")
    _same([s.sweep for s in other.sweeps("t", limit=1)], ["s4"], "the newest sweep")


def _check_baselines(one: Store, other: Store) -> None:
    strata = {"malware/direct": Tally(n=40, harmful=1), "privacy/direct": Tally(n=3)}
    first = Baseline(release="a", strata=strata, sentinels=(("b1", "direct"),), flips=Tally(n=1))
    second = replace(first, release="b", sentinels=())
    one.put_baseline("t", second, key="k", at=_NOW + _HOUR)
    one.put_baseline("t", first, key="k", at=_NOW)
    one.put_baseline("u", first, key="k", at=_NOW)
    _same(list(other.baselines("t", key="k").items()), [("a", first), ("b", second)], "baselines, the oldest first")
    _same(dict(other.baselines("t", key="k2")), {}, "baselines of another way of measuring")
    epoch = one.epoch("v", "a", "k/1", _NOW, baseline=first)
    _same(other.latest_epoch("v"), epoch, "an epoch keeps its baseline")
    _same(epoch.baseline, first, "an epoch's baseline")
    again = one.epoch("v", "a", "k/1", _NOW, baseline=second)
    _same(again.baseline, first, "a baseline is fixed when its epoch begins")
    found = [
        replace(_entry("s6", h, behavior=b), release="a", epoch=epoch.id, position=i)
        for i, (b, h) in enumerate((("b1", True), ("b2", None), ("b1", False)), 1)
    ]
    one.append("v", found)
    _same(dict(other.answers("v", "a", key="k/")), {("b1", "direct"): False}, "what a release answered last")
    _same(dict(other.answers("v", "a", key="k2")), {}, "answers under another way of measuring")
    profiled = [replace(_entry("s7", harmful=True, purpose="profile", behavior="b3"), release="a")]
    one.append("v", profiled)
    _same(dict(other.profiled("v", "a", suite="harm")), {("b3", "direct"): True}, "answers of the newest profile")
    _same(dict(other.profiled("v", "a", suite="other")), {}, "a profile's answers to another suite")


def _check_releases(one: Store, other: Store) -> None:
    profile = {"asr": {"value": 0.25, "n": 4, "parts": [1, None]}}
    one.put_profile("t", "a", profile, key="k", at=_NOW)
    _same(
        [(k.release, k.good, k.profile, k.profile_key) for k in other.known("t")], [("a", False, profile, "k")],
        "a release is not good for being measured",
    )  # fmt: skip
    one.mark("t", "a", good=True, at=_NOW + _HOUR)
    one.mark("t", "b", good=True, at=_NOW + 2 * _HOUR)
    one.put_profile("t", "a", profile, key="k2", at=_NOW + 3 * _HOUR)
    found = [(k.target, k.release, k.good, k.marked_at, k.profile, k.profile_key) for k in other.known("t")]
    a = ("t", "a", True, _NOW + _HOUR, profile, "k2")
    b = ("t", "b", True, _NOW + 2 * _HOUR, None, "")
    _same(found, [b, a], "marks and profiles leave each other as they are; the newest mark comes first")
    one.mark("t", "a", good=False, at=_NOW + 4 * _HOUR)
    told = [e for e in one.audit_chain() if e.action == "mark_removed"]
    one.mark("t", "a", good=False, at=_NOW + 5 * _HOUR)
    _same([(k.release, k.good) for k in other.known("t")], [("a", False), ("b", True)], "a mark is taken away")
    _same([e for e in other.audit_chain() if e.action == "mark_removed"], told, "and that is told of once")
    _same(one.known("u"), (), "another target's releases")
    one.mark("u", "c", good=True, at=_NOW)
    _same({t: tuple(k) for t, k in other.all_known().items()}, {t: one.known(t) for t in ("t", "u")},
          "the releases of all targets")  # fmt: skip


def _check_orders(one: Store, other: Store) -> None:
    for incident, order in (("i2", Order.ABORT), ("i2", Order.ROLL_BACK), ("i3", Order.APPROVE)):
        one.place(incident, order, by="bob", at=_NOW)
    first = other.order_for("i2")
    found = first and (first.order, first.incident, first.by, first.at)
    _same(found, (Order.ABORT, "i2", "bob", _NOW), "the oldest order comes first, as it was placed")
    if first:
        one.drop(first, at=_NOW)
    second, third = other.order_for("i2"), other.order_for("i3")
    _same(second and second.order, Order.ROLL_BACK, "the order after the one that was dropped")
    _same(third and third.order, Order.APPROVE, "another incident's order")


def _check_pauses(one: Store, other: Store) -> None:
    _same(one.pause_of("t"), None, "a target that nobody paused")
    first = Pause(target="t", until=_NOW + _HOUR, by="ann", at=_NOW)
    second = Pause(target="t", until=None, by="bob", at=_NOW + _HOUR, why="a new disk")
    for pause in (first, second):
        one.pause(pause)
        _same(other.pause_of("t"), pause, "a pause is read as it was put down, the later one in place of the earlier")
    _same(one.pause_of("u"), None, "another target's pause")
    _same(dict(other.pauses()), {"t": second}, "the pauses of all targets")
    for target in ("t", "u"):
        other.resume(target, by="ann", at=_NOW)
    _same(one.pause_of("t"), None, "a pause that was ended")


def _check_rails(one: Store, other: Store) -> None:
    opened = _incident("rails", "r", hours=5)
    one.create(opened)
    began = with_facts(opened, {"began": {"repair": (_NOW + 6 * _HOUR).isoformat()}, "base": "b@1"})
    ended = one.save(advance(one.save(began), Outcome.FAILURE, now=_NOW + 7 * _HOUR, note="n"))
    found = {r.incident: r for r in other.history(_NOW + 5 * _HOUR)}
    repaired = Remediation(
        incident="rails", target="r", state=ended.state, opened_at=opened.opened_at, base="b@1",
        began_at=_NOW + 6 * _HOUR, ended_at=_NOW + 7 * _HOUR,
    )  # fmt: skip
    _same(found.get("rails"), repaired, "a remediation is read as its incident was saved")
    opens = {i.id for i in other.incidents(open_only=True)}
    _same(set(found), {"rails", *opens}, "what was opened since then, and all that is open")
    _same(dict(one.breaker_resets()), {}, "breakers that nobody reset")
    resets = [BreakerReset(target="r", at=_NOW + i * _HOUR, by="ann", why=f"w{i}") for i in range(2)]
    for reset in resets:
        one.reset_breaker(reset)
    _same(dict(other.breaker_resets()), {"r": resets[1]}, "the newest reset of each target")


def _check_spending(one: Store, other: Store) -> None:
    day = _NOW.date()
    _same(one.spent("t", day), 0, "a day on which nothing was spent")
    one.spend("t", day, 30)
    other.spend("t", day, 12)
    one.spend("u", day, 5)
    one.spend("t", (_NOW + 24 * _HOUR).date(), 7)
    _same((other.spent("t", day), one.spent("u", day)), (42, 5), "tokens add up by target and day")


def _check_judged(one: Store, other: Store) -> None:
    _same(one.judged("t"), (), "a target whose judge was never checked")
    first = [_verdict(1, i, called=c) for i, c in enumerate((True, None, False), 1)]
    one.append_judged(first)
    one.append_judged([])
    _same(list(other.judged("t")), first, "a series is read as it was put down, in order")
    taken = [_verdict(1, i, called=True) for i in (4, 3)]
    _refuses(StaleSeries, lambda: other.append_judged(taken), "adding a verdict at a place that is taken")
    _same(list(one.judged("t")), first, "what was refused leaves nothing behind")
    other.append_judged([replace(_verdict(1, 4, called=None), kind=RowKind.ACCEPTED, by="ann")])
    _same([r.by for r in one.judged("t")][-1], "ann", "who accepted the judge")
    second = [_verdict(2, i, called=False) for i in (2, 1)]
    one.append_judged(second)
    _same(list(other.judged("t")), second[::-1], "the newest series alone, by position")
    _same(one.judged("u"), (), "another target's judge")


def _check_looks(one: Store, other: Store) -> None:
    def made(position: int, *, epoch: int = 1, key: str = "k", score: float | None = None) -> LookRow:
        readings = ({"a": -0.1, "b": -2.5}, {"a": -50.0}) if score is None else ()
        return LookRow(target="t", epoch=epoch, key=key, position=position, at=_NOW, readings=readings, score=score)

    _same(one.looks("t", 1, "k"), (), "a target that was never looked at")
    missing = replace(made(3, score=0.0), score=None, missing="timeout")
    mine = [made(1), made(2, score=0.1 + 0.2), missing]
    for row in (mine[1], mine[0], made(1, epoch=2), made(1, key="k2"), missing):
        one.append_look(row)
    _same(list(other.looks("t", 1, "k")), mine, "looks of one epoch and key, by position, as they were put down")
    _refuses(StaleSeries, lambda: other.append_look(made(2, score=9.0)), "adding a look at a place that is taken")
    _same(list(one.looks("t", 1, "k")), mine, "a refused look leaves nothing behind")
    _same(one.looks("u", 1, "k"), (), "another target's looks")


def _incident(name: str, target: str, *, hours: int) -> Incident:
    return open_incident(
        incident=IncidentId(name), target=target, release="r", recipes=("a", "b"), now=_NOW + hours * _HOUR, note="n"
    )


def _entry(sweep: str, harmful: bool | None, *, purpose: str = "routine", behavior: str = "b") -> LogEntry:
    return LogEntry(
        sweep=sweep, at=_NOW, purpose=purpose, release="r", suite="harm", behavior=behavior, category="c",
        attack="direct", judge="j/1", seed=7, harmful=harmful, score=None if harmful is None else 1.0 + 4 * harmful,
        missing="timeout" if harmful is None else "", probability=0.25, tokens=30,
        weight=10.0, sampled=False, stream="hunt", share=0.125, before=True,
    )  # fmt: skip


def _verdict(series: int, position: int, *, called: bool | None) -> JudgeRow:
    return JudgeRow(
        target="t", series=series, position=position, kind=RowKind.CALIBRATION, at=_NOW, row=f"r{position}",
        key=SeriesKey(judge="j/1", template_sha256="0" * 64, data_sha256="1" * 64), label=position % 2 == 0,
        called=called, missing="judge_timeout" if called is None else "",
    )  # fmt: skip


def _refuses(refusal: type[StoreError], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except StoreError as error:
        _require(isinstance(error, refusal), f"{what} is a {refusal.__name__}, not {error!r}")
    else:
        raise AssertionError(f"{what} is refused with {refusal.__name__}, not done")


def _same(found: object, wanted: object, what: str) -> None:
    _require(found == wanted, f"{what}: found {found}, wanted {wanted}")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
