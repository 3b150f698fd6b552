"""What a supervisor is to serve, and what it served before: written down before it is done.

Pure, but for reading and writing the one file. A *fence* is a number that rises with each deployer that takes over; a
change that carries a lower one comes from a deployer that was replaced and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.durable import write_whole
from deploy.errors import Fenced, StageError

__all__ = ["Promotion", "PromotionRecord", "read_record", "write_record"]

_HISTORY_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A release that was given the traffic.

    Attributes:
        by: Deployer that asked for it.
        left: Whether it was rolled back from since: no roll-back leads to it.
    """

    release: str
    at: str
    by: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """What is to be served.

    Attributes:
        desired: Release that takes the traffic, ``""`` before the first promotion.
        history: Promotions, oldest first; the last ones, no more than fifty.
        fence: Times that a deployer took over.
        holder: The one that did last, as it calls itself.
        claimed_at: When, ISO 8601; empty before the first.
        withheld: Why nobody gets an answer until the next promotion; empty where users are served.
    """

    desired: str = ""
    history: tuple[Promotion, ...] = ()
    fence: int = 0
    holder: str = ""
    claimed_at: str = ""
    withheld: str = ""

    @property
    def earlier(self) -> tuple[str, ...]:
        """Releases that a roll-back may lead to, the nearest first."""
        found = [p.release for p in reversed(self.history) if not p.left and p.release != self.desired]
        return tuple(dict.fromkeys(found))

    @property
    def previous(self) -> str:
        """The release before the present one, ``""`` where there is none."""
        return next(iter(self.earlier), "")

    def claimed(self, holder: str, *, at: datetime) -> PromotionRecord:
        """Give the next fence to a deployer."""
        return replace(self, fence=self.fence + 1, holder=holder, claimed_at=at.isoformat(timespec="seconds"))

    def admits(self, fence: int) -> PromotionRecord:
        """Look whether a change may be made; a fence above the record's, which was lost then, becomes its own.

        Raises:
            Fenced: A later deployer has taken over.
        """
        if fence < self.fence:
            raise Fenced(
                f"holder {self.holder or 'unknown'} took over at {self.claimed_at} (fence {self.fence}, this change "
                f"has {fence}); stop one of the two, or restart this one to take over again"
            )
        return replace(self, fence=fence)

    def promoted(self, release: str, *, at: datetime) -> PromotionRecord:
        """Give a release the traffic; the same one again is no new promotion."""
        if release == self.desired:
            return replace(self, withheld="") if self.withheld else self
        before = self.history or ((Promotion(release=self.desired, at=""),) if self.desired else ())
        new = Promotion(release=release, at=at.isoformat(timespec="seconds"), by=self.holder)
        return replace(self, desired=release, history=(*before, new)[-_HISTORY_MAX:], withheld="")

    def quarantined(self, why: str) -> PromotionRecord:
        """Let nobody have an answer until the next promotion, of the same release too."""
        return replace(self, withheld=why)

    def lifted(self) -> PromotionRecord:
        """Let users have the desired release again; where a promotion has ended the quarantine, nothing changes."""
        return replace(self, withheld="")

    def rolled_back(self, release: str, *, at: datetime) -> PromotionRecord:
        """Give an earlier release the traffic; what is left was a mistake, and no later roll-back leads to it."""
        gone = self.desired
        moved = self.promoted(release, at=at)
        return replace(moved, history=tuple(replace(p, left=p.left or p.release == gone) for p in moved.history))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "active": self.desired, "previous": self.previous, "fence": self.fence, "holder": self.holder,
            "claimed_at": self.claimed_at, "withheld": self.withheld, "history": [asdict(p) for p in self.history],
        }  # fmt: skip

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PromotionRecord:
        """Rebuild what ``to_json`` wrote; the record of an earlier version names the active release alone.

        Raises:
            TypeError: What is active is no text.
        """
        if not isinstance(desired := data["active"], str):
            raise TypeError(f"active is {desired!r}")
        return PromotionRecord(
            desired=desired, fence=int(data.get("fence", 0)), holder=str(data.get("holder", "")),
            claimed_at=str(data.get("claimed_at", "")), withheld=str(data.get("withheld", "")),
            history=tuple(
                Promotion(release=str(p["release"]), at=str(p["at"]), by=str(p["by"]), left=bool(p["left"]))
                for p in data.get("history", ())
            ),
        )  # fmt: skip


def read_record(file: Path) -> PromotionRecord:
    """Read the record; an empty one where nothing was promoted yet.

    Raises:
        StageError: It is damaged.
    """
    try:
        return PromotionRecord.from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return PromotionRecord()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{file} is damaged; delete it, start again and promote a release") from error


def write_record(file: Path, record: PromotionRecord) -> None:
    """Write the record, whole or not at all.

    Raises:
        StageError: It can't be written; what is served stays as it is.
    """
    try:
        write_whole(file, json.dumps(record.to_json(), indent=1))
    except OSError as error:
        raise StageError(
            f"{file} can't be written ({error.strerror}); free disk or mend the folder's rights, nothing was changed"
        ) from error
