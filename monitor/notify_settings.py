"""Settings of the channels that people are told by."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_serializer, model_validator

from monitor.notifier import Kind, Severity
from monitor.secret import masked
from monitor.section import Section

__all__ = ["NotificationSettings"]

_NEVER_CHOSEN = {Kind.TEST, Kind.DIGEST}


class NotificationSettings(Section):
    """One channel, and what goes out by it; see docs/howto/notifications.md."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Name in metrics, logs and `alignd notify test`: lower-case letters, digits, dashes."""
    plugin: str = Field(min_length=1)
    """webhook, slack, e-mail, or the name of another entry point of alignd.notifiers."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The plugin's own options. A secret is written out, or kept in a variable ({env: NAME}) or a file ({file: PATH});
    a relative path counts from the configuration file."""
    events: tuple[Kind, ...] = tuple(k for k in Kind if k not in _NEVER_CHOSEN)
    """Which kinds are told; all if not given."""
    targets: tuple[str, ...] = ()
    """Targets that it is told about; all if not given."""
    severity: Severity = Severity.INFO
    """Least severity that is told: info, warning, critical."""
    digest_above: int = Field(default=5, ge=2, le=100)
    """When more wait at once, they go out as one digest: forty targets behind one broken gateway ring once."""
    max_age_hours: float = Field(default=24.0, gt=0, le=168)
    """Hours after which what could not be sent becomes a dead letter: later, nobody would act on it."""

    @model_validator(mode="after")
    def _kinds_that_happen(self) -> Self:
        if wrong := _NEVER_CHOSEN & set(self.events):
            raise ValueError(f"events: {min(wrong)} goes to every channel by itself; leave it out")
        return self

    @field_serializer("options")
    def _masked(self, options: dict[str, Any]) -> dict[str, Any]:
        """Show no text of the options: the address of a web hook is as good as a password."""
        shown: dict[str, Any] = masked(options)
        return shown

    def placed(self, folder: Path) -> NotificationSettings:
        """Make paths count from a folder."""
        options = dict(self.options)
        if isinstance(authorities := options.get("ca_file"), str):
            options["ca_file"] = str(folder / authorities)
        return self.model_copy(update={"options": options})


