"""Settings of what other programs may ask of the daemon by web hooks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from monitor.secret import Secret
from monitor.section import Section

__all__ = ["AlertAction", "AlertRule", "AlertmanagerSettings", "HooksSettings"]


class AlertAction(StrEnum):
    """What an alert asks for."""

    SWEEP = "sweep"
    """Send the target's next batch of probes now."""
    CONTAIN = "contain"
    """Open an incident: confirm, contain, and leave the repair to a person."""
    REMEDIATE = "remediate"
    """Open an incident: confirm, contain, repair, as for a breach that probing found."""


class AlertRule(Section):
    """What an alert means; the first rule that matches counts."""

    match: dict[str, str] = Field(default_factory=dict)
    """Labels that the alert must have, with their values; none: any alert."""
    target: str = ""
    """The target that it is about; empty: the alert's own label says it."""
    target_label: str = Field(default="target", min_length=1)
    """The label that names the target, where target is empty."""
    action: AlertAction = AlertAction.SWEEP
    """sweep: probe now; contain: confirm and contain; remediate: and repair. The target's mode and rails still rule."""


class AlertmanagerSettings(Section):
    """Alerts of Alertmanager and Grafana, see docs/howto/pipelines.md."""

    rules: tuple[AlertRule, ...] = ()
    """What alerts mean; an alert that no rule matches does nothing."""
    secret: Annotated[Secret, Field(min_length=16)] | None = None
    """Signs Grafana's deliveries (HMAC-SHA256), at least 16 characters; none: each delivery needs a token."""


class HooksSettings(Section):
    """What other programs may ask by web hooks."""

    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    """Alerts of Alertmanager and Grafana."""

    def check_targets(self, names: frozenset[str]) -> None:
        """Refuse a rule about a target that is not watched.

        Raises:
            ValueError: There is one.
        """
        for number, rule in enumerate(self.alertmanager.rules):
            if rule.target and rule.target not in names:
                known = ", ".join(sorted(names))
                raise ValueError(
                    f"hooks.alertmanager.rules[{number}].target: no target {rule.target!r}; there are: {known}"
                )
