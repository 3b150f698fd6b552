"""Judge checks and tripwires of all targets, each on its own clock: what freezes repairs, and what hastens probing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from monitor.errors import LogFault, NotMeasured, StaleSeries
from monitor.judge_check import check_due, check_judge, present_state
from monitor.judge_series import JudgeState
from monitor.looks import TripwireState
from monitor.probe_log import Epoch
from monitor.site import Site
from monitor.tripwire_check import look, present_tripwire

__all__ = ["Checks"]

log = logging.getLogger("alignd")

_READ_AGAIN = timedelta(seconds=30)
"""A person accepts a judge through another process: the book is read again after so long."""


class Checks:
    """Keeps how judges and tripwires stand; all memory that matters is in the store."""

    def __init__(self, *, sites: Mapping[str, Site], clock: Callable[[], datetime]) -> None:
        """Take the watched targets."""
        self._sites = sites
        self._clock = clock
        self._judges: dict[str, tuple[datetime, JudgeState]] = {}
        self._wires: dict[str, tuple[int, TripwireState]] = {}
        self.why: dict[str, str] = {}
        """Why the last check or look came to nothing, by target."""

    async def check_judge(self, name: str, *, hours: float | None = None) -> None:
        """Hold a target's judge against labelled replies, if that is due.

        Args:
            hours: Since the last round, after which it is; as the settings say if not given.
        """
        site = self._sites[name]
        state = self.judge(name)
        due = site.judge_check_hours if hours is None else hours
        if site.judge_check is None or state is None or not check_due(state, hours=due, now=self._clock()):
            return
        try:
            state = await check_judge(site.judge_check, clock=self._clock)
        except (LogFault, NotMeasured, StaleSeries) as error:
            self._failed(name, "judge_not_checked", error)
            return
        self._judges[name] = (self._clock(), state)
        self.why.pop(name, None)
        log.log(
            logging.WARNING if state.frozen else logging.INFO, "judge_checked",
            extra={"target": name, "frozen": state.frozen, "n": state.n, "log_evidence": state.log_evidence},
        )  # fmt: skip

    async def look(self, name: str, epoch: Epoch) -> None:
        """Look at a target's first tokens."""
        check, state = self._sites[name].tripwire, self.tripwire(name, epoch)
        if check is None or state is None or state.off:
            return
        try:
            row = await look(check, state, epoch=epoch, clock=self._clock)
        except (LogFault, StaleSeries) as error:
            self._wires.pop(name, None)
            self._failed(name, "tripwire_not_looked", error)
            return
        if row is not None:
            after = state.update(row)
            self._wires[name] = (epoch.id, after)
            if after.tripped and not state.tripped:
                log.warning("tripwire_tripped", extra={"target": name, "log_evidence": after.log_evidence})

    def judge(self, name: str, *, again: bool = True) -> JudgeState | None:
        """Say how a target's judge stands; ``None`` where it is not checked, or its book can't be read.

        Args:
            again: Read the book again where that was not done for a while; who only shows it takes what is known.
        """
        check, now = self._sites[name].judge_check, self._clock()
        if check is None:
            return None
        held = self._judges.get(name)
        if held is None or (again and abs(now - held[0]) >= _READ_AGAIN):
            try:
                held = self._judges[name] = (now, present_state(check))
            except LogFault as error:
                self._failed(name, "judge_not_checked", error)
                return None
        return held[1]

    def forget(self, name: str) -> None:
        """Drop what the store will give again."""
        for held in (self._judges, self._wires, self.why):
            held.pop(name, None)

    def frozen(self, name: str, *, again: bool = True) -> str:
        """Say why nothing may be decided by a target's judge; nothing where it may.

        A book of checks that can't be read freezes, too: nobody knows what it would say.

        Args:
            again: As ``judge``.
        """
        state = self.judge(name, again=again)
        if state is None:
            return self.why.get(name, "") if self._sites[name].judge_check else ""
        return state.why if state.frozen else ""

    def tripwire(self, name: str, epoch: Epoch) -> TripwireState | None:
        """Say how a target's tripwire stands in this epoch; ``None`` where there is none, or its book can't be read."""
        check, held = self._sites[name].tripwire, self._wires.get(name)
        if check is None:
            return None
        if held is None or held[0] != epoch.id:
            try:
                held = self._wires[name] = (epoch.id, present_tripwire(check, epoch))
            except LogFault as error:
                self._failed(name, "tripwire_not_looked", error)
                return None
        return held[1]

    def tripped(self, name: str) -> bool:
        """Tell whether the wire last stood tripped; it may only raise the probe rate."""
        held = self._wires.get(name)
        return held is not None and held[1].tripped

    def _failed(self, name: str, action: str, error: Exception) -> None:
        self.why[name] = str(error)
        log.warning(action, extra={"target": name, "why": str(error)})
