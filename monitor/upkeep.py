"""The release store kept small by the daemon, where the settings ask for it: the sweep of ``alignd releases gc``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deploy.errors import DeployError, DeployerUnavailable, StoreInUse
from monitor.keeping import sweep
from monitor.site import Site
from monitor.store import Store

__all__ = ["Retention", "Upkeep"]

log = logging.getLogger("alignd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What the settings say.

    Attributes:
        keep: Newest releases that stay in any case.
        sweep_hours: Hours between sweeps; ``None`` where the daemon never removes anything.
    """

    keep: int = 5
    sweep_hours: float | None = None


@dataclass(slots=True)
class Upkeep:
    """Sweeps the store when that is due, and counts; nothing of it matters after a restart."""

    sites: Mapping[str, Site]
    store: Store
    clock: Callable[[], datetime]
    retention: Retention
    releases: int | None = None
    """Releases in the store after the last sweep; ``None`` before the first."""
    store_bytes: int = 0
    """Their size."""
    removed: int = 0
    freed_bytes: int = 0
    failed: int = 0
    """Sweeps since the start that removed nothing, for it was not known what may go, or could not."""
    why: str = ""
    """What stood in the way last; empty where nothing did."""
    swept_at: datetime | None = None

    async def sweep(self, _: str = "") -> None:
        """Remove what nobody needs, if that is due and no incident is open: a repair makes and measures releases."""
        hours, now = self.retention.sweep_hours, self.clock()
        if hours is None or (self.swept_at and now - self.swept_at < timedelta(hours=hours)):
            return
        if any(i.target in self.sites for i in self.store.incidents(open_only=True)):
            return
        (releases,) = {s.releases for s in self.sites.values()}
        if not releases.is_dir():
            return
        try:
            done = await sweep(self.sites, self.store, releases, keep=self.retention.keep)
        except StoreInUse as error:
            log.info("sweep_waits", extra={"why": str(error)})
            return
        except DeployError as error:
            self.failed += 1
            if str(error) != self.why:
                level = logging.INFO if isinstance(error, DeployerUnavailable) else logging.WARNING
                log.log(level, "store_not_swept", extra={"why": str(error)})
            self.why = str(error)
            return
        gone = sum(not name.startswith(".") for name in done.gone)
        self.releases, self.store_bytes, self.swept_at, self.why = len(done.kept), done.kept_bytes, now, ""
        self.removed, self.freed_bytes = self.removed + gone, self.freed_bytes + done.freed_bytes
        log.info(
            "store_swept",
            extra={"kept": len(done.kept), "removed": list(done.gone), "freed_bytes": done.freed_bytes,
                   "store_bytes": done.kept_bytes},
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "sweep_hours": self.retention.sweep_hours, "releases": self.releases, "bytes": self.store_bytes,
            "removed": self.removed, "freed_bytes": self.freed_bytes, "failed": self.failed, "why": self.why,
            "swept_at": self.swept_at.isoformat() if self.swept_at else None,
        }  # fmt: skip
