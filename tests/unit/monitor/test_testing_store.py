"""The SQL store passes the check of stores, and the check catches what breaks one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.audit import DAEMON
from monitor.baseline import Baseline
from monitor.errors import LogFault, UnknownIncident
from monitor.incident import Incident
from monitor.judge_series import JudgeRow
from monitor.looks import LookRow
from monitor.policy import Order
from monitor.probe_log import Epoch, LogEntry
from monitor.store import KnownRelease, PlacedOrder, SweepSummary
from monitor.stores.sql import SqlStore
from monitor.testing import check_store


def test_the_sql_store_keeps_the_port(tmp_path: Path) -> None:
    check_store(lambda: SqlStore(f"sqlite:///{tmp_path}/s.db"))


class Overwrites(SqlStore):
    """Saves over any version."""

    def save(self, incident: Incident, *, done: PlacedOrder | None = None) -> Incident:
        return SqlStore.save(self, replace(incident, version=self.load(incident.id).version), done=done)


class KeepsOrders(SqlStore):
    """Leaves the order that led to a save on the book."""

    def save(self, incident: Incident, *, done: PlacedOrder | None = None) -> Incident:
        return SqlStore.save(self, incident)


class DropsFirst(SqlStore):
    """Takes the order off the book whether or not the save is refused."""

    def save(self, incident: Incident, *, done: PlacedOrder | None = None) -> Incident:
        if done:
            self.drop(done, at=done.at)
        return SqlStore.save(self, incident)


class OldestFirst(SqlStore):
    """Lists incidents in the wrong order."""

    def incidents(
        self, *, target: str = "", open_only: bool = False, limit: int | None = None
    ) -> tuple[Incident, ...]:
        return SqlStore.incidents(self, target=target, open_only=open_only, limit=limit)[::-1]


class ReopensEpochs(SqlStore):
    """Goes on with the first epoch of a release when it comes back."""

    def epoch(
        self, target: str, release: str, key: str, at: datetime, *, baseline: Baseline | None = None
    ) -> Epoch:
        made = SqlStore.epoch(self, target, release, key, at, baseline=baseline)
        return replace(made, id=1) if (release, key) == ("r1", "k") else made


class MixesPurposes(SqlStore):
    """Hands confirming probes to the detector."""

    def entries(self, epoch: Epoch, *, purpose: str = "routine") -> tuple[LogEntry, ...]:
        mixed = (*SqlStore.entries(self, epoch), *SqlStore.entries(self, epoch, purpose="certify"))
        return mixed if purpose == "routine" else SqlStore.entries(self, epoch, purpose=purpose)


class Shuffles(SqlStore):
    """Reads probes in another order."""

    def entries(self, epoch: Epoch, *, purpose: str = "routine") -> tuple[LogEntry, ...]:
        return SqlStore.entries(self, epoch, purpose=purpose)[::-1]


class ForgetsBaselines(SqlStore):
    """Begins epochs without their baseline."""

    def epoch(
        self, target: str, release: str, key: str, at: datetime, *, baseline: Baseline | None = None
    ) -> Epoch:
        assert baseline is None or baseline.release
        return SqlStore.epoch(self, target, release, key, at)


class Doubles(SqlStore):
    """Takes a record that is there already for done."""

    def append(self, target: str, entries: Sequence[LogEntry]) -> None:
        with contextlib.suppress(LogFault):
            SqlStore.append(self, target, entries)


class FirstAnswers(SqlStore):
    """Keeps the first answer to a prompt, not the last."""

    def answers(self, target: str, release: str, *, key: str) -> Mapping[tuple[str, str], bool]:
        return dict.fromkeys(SqlStore.answers(self, target, release, key=key), True)


class NewestSweepFirst(SqlStore):
    """Summarises sweeps in the wrong order."""

    def sweeps(self, target: str, *, limit: int = 200) -> tuple[SweepSummary, ...]:
        return SqlStore.sweeps(self, target, limit=limit)[::-1]


class CountsMissing(SqlStore):
    """Counts missing probes among those that were judged."""

    def sweeps(self, target: str, *, limit: int = 200) -> tuple[SweepSummary, ...]:
        return tuple(replace(s, n=s.n + s.missing) for s in SqlStore.sweeps(self, target, limit=limit))


class ProfileUnmarks(SqlStore):
    """Takes the mark away with each new profile."""

    def put_profile(self, target: str, release: str, profile: Mapping[str, Any], *, key: str, at: datetime) -> None:
        SqlStore.put_profile(self, target, release, profile, key=key, at=at)
        self.mark(target, release, good=False, at=at)


class MarksStay(SqlStore):
    """Never takes a mark away."""

    def mark(
        self, target: str, release: str, *, good: bool, at: datetime, by: str = DAEMON, since: datetime | None = None
    ) -> None:
        SqlStore.mark(self, target, release, good=True, at=at, by=by, since=since)


class MixesTargets(SqlStore):
    """Knows releases by name alone."""

    def known(self, target: str) -> tuple[KnownRelease, ...]:
        return SqlStore.known(self, "t")


class AnyOrder(SqlStore):
    """Takes every order of an incident off the book with one of them."""

    def drop(self, order: PlacedOrder, *, at: datetime) -> None:
        while found := self.order_for(order.incident):
            SqlStore.drop(self, found, at=at)


class Anonymous(SqlStore):
    """Forgets who placed an order."""

    def place(self, incident: str, order: Order, *, by: str, at: datetime) -> None:
        SqlStore.place(self, incident, order, by="", at=at)


class MixesSeries(SqlStore):
    """Reads every series of a judge as one."""

    seen: tuple[JudgeRow, ...] = ()

    def judged(self, target: str) -> tuple[JudgeRow, ...]:
        newest = SqlStore.judged(self, target)
        if self.seen and newest and newest[0].series != self.seen[0].series:
            return (*self.seen, *newest)
        self.seen = newest or self.seen
        return newest


class HalfRounds(SqlStore):
    """Adds verdicts one by one, so that a refusal comes too late."""

    def append_judged(self, rows: Sequence[JudgeRow]) -> None:
        for row in rows:
            SqlStore.append_judged(self, [row])


class MixesEpochs(SqlStore):
    """Reads looks at any release."""

    def looks(self, target: str, epoch: int, key: str) -> tuple[LookRow, ...]:
        return SqlStore.looks(self, target, epoch, key) + SqlStore.looks(self, target, 2, key)


class RoundsScores(SqlStore):
    """Keeps fewer digits of a score than it has."""

    def append_look(self, row: LookRow) -> None:
        SqlStore.append_look(self, replace(row, score=None if row.score is None else round(row.score, 6)))


class HeldByAll(SqlStore):
    """Lets everybody hold it."""

    def hold(self) -> None:
        return None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Overwrites, "saving an old version is refused with StaleIncident, not done"),
        (KeepsOrders, "off the book"),
        (DropsFirst, "a refused save leaves the order on the book"),
        (OldestFirst, "newest first"),
        (ReopensEpochs, "going back, is a new epoch"),
        (MixesPurposes, "reads its own routine probes"),
        (Shuffles, "in order"),
        (ForgetsBaselines, "an epoch.s baseline"),
        (Doubles, "a record that is there already"),
        (FirstAnswers, "what a release answered last"),
        (NewestSweepFirst, "oldest first"),
        (CountsMissing, "harm sweeps"),
        (ProfileUnmarks, "leave each other as they are"),
        (MarksStay, "a mark is taken away"),
        (MixesTargets, "another target's releases"),
        (AnyOrder, "the order after the one that was dropped"),
        (Anonymous, "the oldest order comes first, as it was placed"),
        (MixesSeries, "the newest series alone"),
        (HalfRounds, "leaves nothing behind"),
        (MixesEpochs, "looks of one epoch and key"),
        (RoundsScores, "as they were put down"),
        (HeldByAll, "holding a store that is held is refused with StoreBusy"),
    ],
)
def test_a_store_that_breaks_the_port_is_caught(tmp_path: Path, broken: type[SqlStore], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_store(lambda: broken(f"sqlite:///{tmp_path}/s.db"))


def test_a_store_that_is_not_shared_is_caught(tmp_path: Path) -> None:
    files = iter(range(10))
    with pytest.raises(UnknownIncident, match="no incident 'i1'"):
        check_store(lambda: SqlStore(f"sqlite:///{tmp_path}/{next(files)}.db"))
