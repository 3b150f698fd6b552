"""Settings of audits: where they are kept, what signs them, and when the daemon makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from monitor.cron import check_cron
from monitor.section import Section

__all__ = ["AuditPlanSettings", "AuditSettings"]


class AuditPlanSettings(Section):
    """Audits that the daemon makes by the calendar. One that was missed is made up for, once."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Name in audits and commands: lower-case letters, digits, dashes."""
    cron: str
    """Minute, hour, day, month, weekday (0 and 7 are Sunday), e.g. `0 6 1 * *`, the first of each month at 6:00; hourly
    at most. A day of the month and a weekday must both hold, where the cron of Unix takes either."""
    time_zone: str = "UTC"
    """Whose hours these are, e.g. Europe/Berlin; changes to summer time and back are kept."""
    targets: tuple[str, ...] = ()
    """Names of targets; all of them where none is given. They are audited one after another."""
    suites: tuple[str, ...] = ()
    """In place of the target's own, as `alignd audit run --suites` takes them."""
    keep: int | None = Field(default=None, ge=2)
    """Newest audits of this plan that stay, for each target; older ones are removed. None keeps all, as evidence."""

    @model_validator(mode="after")
    def _comes_true(self) -> Self:
        check_cron(self.cron, self.time_zone)
        return self


class AuditSettings(Section):
    """Audits, see docs/howto/audits.md."""

    folder: Path = Path("audits")
    """Where they are kept, one folder each; a relative path counts from the configuration file."""
    private_key: Path | None = None
    """Ed25519 key that signs each audit's manifest, as `alignd audit key` makes it; none leaves audits unsigned. A
    relative path counts from the configuration file."""

    plans: tuple[AuditPlanSettings, ...] = ()
    """When the daemon makes audits by itself; none by default."""

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [p.name for p in self.plans]
        if doubled := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two plans are named {doubled[0]!r}; names must differ")
        return self

    def placed(self, base: Path) -> AuditSettings:
        """Return the same with paths that count from a folder."""
        key = base / self.private_key if self.private_key else None
        return self.model_copy(update={"folder": base / self.folder, "private_key": key})
