"""Port: what the monitor remembers. Each part is small; one adapter holds them all in one database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

from monitor.audit import DAEMON, AuditEntry, SealedEntry
from monitor.baseline import Baseline
from monitor.incident import Incident
from monitor.judge_series import JudgeRow
from monitor.kept import BreakerReset, KnownRelease, Pause, PlacedOrder, SweepSummary
from monitor.letter import Letter, LetterBook
from monitor.looks import LookRow
from monitor.policy import Order
from monitor.probe_log import Epoch, LogEntry
from monitor.quarantine import LiftBook
from monitor.rails import Remediation

__all__ = [
    "AuditBook", "BaselineBook", "BreakerReset", "IncidentStore", "JudgeBook", "KnownRelease", "LookBook", "OrderBook",
    "Pause", "PauseBook", "PlacedOrder", "ProbeLog", "RailBook", "ReleaseBook", "SpendingBook", "Store", "SweepSummary",
]  # fmt: skip


class IncidentStore(Protocol):
    """Incidents, with a version check on each save and an append-only list of their events."""

    def create(self, incident: Incident, *, letters: Sequence[Letter] = ()) -> None:
        """Put down a new incident, with the letters that tell of it, in one transaction.

        Raises:
            OpenIncident: Its target has an open one.
        """
        ...

    def load(self, incident: str) -> Incident:
        """Read an incident.

        Raises:
            UnknownIncident: There is none of this id.
        """
        ...

    def save(self, incident: Incident, *, done: PlacedOrder | None = None, letters: Sequence[Letter] = ()) -> Incident:
        """Write an incident over the version it was loaded with, in one transaction with all that belongs to it.

        Args:
            done: The order that led to it, which is taken off the book.
            letters: They tell of it.

        Returns:
            The incident with its new version.

        Raises:
            StaleIncident: It was saved in between.
        """
        ...

    def incidents(self, *, target: str = "", open_only: bool = False, limit: int | None = None) -> tuple[Incident, ...]:
        """List incidents, what was put down last first, whatever the clock said; all where no limit is given."""
        ...

    def newest_incidents(self) -> Mapping[str, Incident]:
        """Return the incident of each target that was put down last; where one is open, it is this."""
        ...

    def incident_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Count incidents by target and present state."""
        ...


class ProbeLog(Protocol):
    """Every probe that was sent, append-only, and the epochs they belong to."""

    def epoch(self, target: str, release: str, key: str, at: datetime, *, baseline: Baseline | None = None) -> Epoch:
        """Return the target's present epoch, begun now with this baseline where release or key changed."""
        ...

    def latest_epoch(self, target: str) -> Epoch | None:
        """Return the target's newest epoch."""
        ...

    def epoch_of(self, number: int) -> Epoch | None:
        """Return the epoch of this id."""
        ...

    def others_since(self, target: str, release: str, at: datetime) -> bool:
        """Tell whether another release began to be watched after a moment."""
        ...

    def append(self, target: str, entries: Sequence[LogEntry]) -> None:
        """Add the probes of a sweep, in order, in one transaction."""
        ...

    def entries(self, epoch: Epoch, *, purpose: str = "routine") -> tuple[LogEntry, ...]:
        """Read an epoch's probes of one purpose, in the order in which they were written."""
        ...

    def sweeps(self, target: str, *, limit: int = 200) -> tuple[SweepSummary, ...]:
        """Summarise the newest harm sweeps, oldest first."""
        ...


class BaselineBook(Protocol):
    """What good releases did, to hold later ones against."""

    def answers(self, target: str, release: str, *, key: str) -> Mapping[tuple[str, str], bool]:
        """Return what a release answered last to each behavior and attack, in epochs whose key begins so."""
        ...

    def profiled(self, target: str, release: str, *, suite: str) -> Mapping[tuple[str, str], bool]:
        """Return what a release answered to each behavior and attack of a suite in its newest profile."""
        ...

    def put_baseline(self, target: str, baseline: Baseline, *, key: str, at: datetime) -> None:
        """Keep what a good release did."""
        ...

    def baselines(self, target: str, *, key: str) -> Mapping[str, Baseline]:
        """Return the baselines of one way of measuring, by release, the oldest first."""
        ...


class ReleaseBook(Protocol):
    """What is known of each target's releases."""

    def mark(
        self, target: str, release: str, *, good: bool, at: datetime, by: str = DAEMON, since: datetime | None = None
    ) -> None:
        """Mark a release good, or take the mark away; one that is known as not good stays as it is.

        Args:
            by: Who says so.
            since: From when on the mark counts, where that is not now.
        """
        ...

    def put_profile(self, target: str, release: str, profile: Mapping[str, Any], *, key: str, at: datetime) -> None:
        """Keep a release's profile."""
        ...

    def known(self, target: str) -> tuple[KnownRelease, ...]:
        """List what is known, newest mark first."""
        ...

    def all_known(self) -> Mapping[str, Sequence[KnownRelease]]:
        """Return the same of all targets."""
        ...


class OrderBook(Protocol):
    """What people said about incidents."""

    def place(self, incident: str, order: Order, *, by: str, at: datetime) -> None:
        """Put an order on the book."""
        ...

    def order_for(self, incident: str) -> PlacedOrder | None:
        """Return the oldest order for this incident that is not done."""
        ...

    def drop(self, order: PlacedOrder, *, at: datetime) -> None:
        """Take an order off the book that means nothing in the incident's state."""
        ...


class PauseBook(Protocol):
    """Which targets are not to be probed."""

    def pause(self, pause: Pause) -> None:
        """Pause a target, in place of an earlier pause of it."""
        ...

    def resume(self, target: str, *, by: str, at: datetime) -> None:
        """End a target's pause, where there is one."""
        ...

    def pause_of(self, target: str) -> Pause | None:
        """Return a target's pause, ended by itself or not."""
        ...

    def pauses(self) -> Mapping[str, Pause]:
        """Return the same of all targets."""
        ...


class RailBook(Protocol):
    """What rails ask."""

    def history(self, since: datetime) -> tuple[Remediation, ...]:
        """List what was done about incidents that were opened since then, and about all open ones, newest first."""
        ...

    def reset_breaker(self, reset: BreakerReset) -> None:
        """Put down that a target's breaker was closed; that is never taken back."""
        ...

    def breaker_resets(self) -> Mapping[str, BreakerReset]:
        """Return each target's newest reset."""
        ...


class SpendingBook(Protocol):
    """What probing cost, by target and day."""

    def spent(self, target: str, day: date) -> int:
        """Return the tokens of a day."""
        ...

    def spend(self, target: str, day: date, tokens: int) -> None:
        """Add tokens to a day's, beside whatever other processes add."""
        ...


class JudgeBook(Protocol):
    """What judges said of labelled replies, append-only, in series."""

    def append_judged(self, rows: Sequence[JudgeRow]) -> None:
        """Add rows of one series, all of them or none.

        Raises:
            StaleSeries: One of their places is taken.
        """
        ...

    def judged(self, target: str) -> tuple[JudgeRow, ...]:
        """Read the target's newest series, in order."""
        ...


class LookBook(Protocol):
    """Looks at log-probabilities, append-only."""

    def append_look(self, row: LookRow) -> None:
        """Add a look.

        Raises:
            StaleSeries: Its place is taken.
        """
        ...

    def looks(self, target: str, epoch: int, key: str) -> tuple[LookRow, ...]:
        """Read the looks of an epoch that were made in one way, in order."""
        ...


class AuditBook(Protocol):
    """Who did what, append-only, in a chain of hashes.

    What other parts of the port change is put down there by itself, in the same transaction.
    """

    def append_audit(self, entry: AuditEntry) -> SealedEntry:
        """Put an entry at the log's end, whoever else writes meanwhile."""
        ...

    def audit_log(
        self, *, actor: str = "", action: str = "", subject: str = "", since: datetime | None = None, limit: int = 100
    ) -> tuple[SealedEntry, ...]:
        """Return the newest entries of an actor, an action or a subject, oldest first."""
        ...

    def audit_chain(self) -> Iterator[SealedEntry]:
        """Read the whole log as it is at this moment, in order, as it was kept."""
        ...


class Store(
    IncidentStore, ProbeLog, BaselineBook, ReleaseBook, OrderBook, PauseBook, RailBook, SpendingBook, JudgeBook,
    LookBook, AuditBook, LetterBook, LiftBook, Protocol,
):
    """Everything, in one place."""

    @property
    def writable(self) -> bool:
        """Whether the last change was taken: what is locked or full can often be read all the same."""
        ...

    def try_writing(self) -> None:
        """Write what says nothing, to find out whether changes are taken again where nothing else has any to make.

        Raises:
            StoreUnavailable: None is taken.
        """
        ...

    def hold(self) -> None:
        """Take the store for this process until it ends.

        Raises:
            StoreBusy: Another daemon has it.
        """
        ...

    def close(self) -> None:
        """Let go of the store and close it."""
        ...
