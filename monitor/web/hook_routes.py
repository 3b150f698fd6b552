"""Web hooks: alerts of Alertmanager and Grafana, and Flagger's gates and events."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from monitor.api_settings import Scope
from monitor.audit import AuditEntry
from monitor.errors import ConfigError, UnknownIncident
from monitor.hook_settings import AlertAction, AlertmanagerSettings, AlertRule
from monitor.incident import IncidentId
from monitor.pausing import pause_in_force
from monitor.service import Service
from monitor.status import verdict_json
from monitor.web import models
from monitor.web.alerts import Alert, Delivery, Fate, Seen, fate_of, key_of, rule_for, seen_after
from monitor.web.problems import Problem
from monitor.web.routes import Sweeper, Who, asks
from monitor.web.views import Views

__all__ = ["make_hook_router"]

log = logging.getLogger("alignd")

_TAKEN, _REFUSED = "alert_taken", "alert_refused"
"""Actions of the audit log: what was taken is not acted on again, what was refused is decided anew."""


class FlaggerCall(BaseModel):
    """What Flagger sends; the target stands in the web hook's metadata."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(max_length=300)
    namespace: str = Field(max_length=300)
    phase: str = Field(default="", max_length=100)
    metadata: dict[str, str]


def make_hook_router(service: Service, *, settings: AlertmanagerSettings, sweep: Sweeper) -> APIRouter:
    """Return the paths of web hooks."""
    router, views = APIRouter(prefix="/api/v1/hooks"), Views(service)
    _add_alertmanager(router, _Alerts(service, settings, sweep))
    _add_flagger(router, service, views, sweep)
    return router


def _add_alertmanager(router: APIRouter, alerts: _Alerts) -> None:
    @router.post("/alertmanager", **asks(Scope.OPERATE, body=True))
    async def take_alerts(delivery: Delivery, caller: Who) -> models.AlertsTaken:
        """Take a delivery of Alertmanager (version 4) or Grafana; what came before does nothing again."""
        return models.AlertsTaken(
            alerts=tuple(alerts.take(delivery.groupKey, alert, by=caller.name) for alert in delivery.alerts)
        )


class _Alerts:
    """Acts on alerts, each occurrence once; what was taken stands in the audit log, and outlives the process."""

    def __init__(self, service: Service, settings: AlertmanagerSettings, sweep: Sweeper) -> None:
        self._service = service
        self._settings = settings
        self._sweep = sweep

    def take(self, group: str, alert: Alert, *, by: str) -> models.AlertTaken:
        """Do what an alert asks for, where it is new, and say what was made of it."""
        key, now = key_of(group, alert), self._service.clock()
        seen, rule = self._seen(key), rule_for(alert, self._settings.rules)
        fate, why, incident = fate_of(alert, rule, seen, now=now), "", ""
        target = (rule.target or alert.labels.get(rule.target_label, "")) if rule else ""
        if fate is Fate.ACT and rule:
            why, incident = self._act(rule, target, alert, key, by=by)
        elif fate is Fate.AHEAD:
            why = f"startsAt {alert.startsAt.isoformat()} is in the future: it is {now.isoformat()}; set the clocks"
        outcome = models.AlertOutcome.REFUSED if why else models.AlertOutcome(fate.value)
        more: dict[str, str | bool] = {"outcome": outcome.value, "target": target[:60], "incident": incident}
        if outcome in {models.AlertOutcome.REFUSED, models.AlertOutcome.UNMATCHED}:
            self._put(_REFUSED, key, {**more, "why": why}, by=by)
        elif (after := seen_after(alert, seen)) != seen:
            self._put(
                _TAKEN, key, {"starts_at": after.starts_at.isoformat(), "resolved": after.resolved, **more}, by=by
            )
        return models.AlertTaken(
            fingerprint=alert.fingerprint, outcome=outcome, target=target, incident=incident or None, why=why
        )

    def _seen(self, key: str) -> Seen | None:
        newest = self._service.store.audit_log(action=_TAKEN, subject=key, limit=1)
        if not newest:
            return None
        details = json.loads(newest[0].details)
        return Seen(starts_at=datetime.fromisoformat(details["starts_at"]), resolved=details["resolved"])

    def _put(self, action: str, key: str, details: Mapping[str, str | bool], *, by: str) -> None:
        log.info(action, extra={"alert": key, "by": by, **details})
        self._service.store.append_audit(
            AuditEntry(at=self._service.clock(), actor=by, action=action, subject=key, details=dict(details))
        )

    def _act(self, rule: AlertRule, target: str, alert: Alert, key: str, *, by: str) -> tuple[str, str]:
        """Do what a rule says.

        Returns:
            Why nothing was done, and the incident that was opened; each empty where there is none.
        """
        service = self._service
        if target not in service.sites:
            return f"no target {target[:60]!r}; there are: {', '.join(service.sites)}", ""
        if pause_in_force(service.store, target, service.clock()):
            return f"target {target} is paused", ""
        if rule.action is AlertAction.SWEEP:
            self._sweep(target)
            return "", ""
        name = IncidentId(f"{target}-alert-{key[:12]}-{alert.startsAt:%Y%m%d%H%M%S}")
        try:
            return "", service.store.load(name).id
        except UnknownIncident:
            pass
        try:
            opened = service.opening.on_request(target, name, by=by, repair=rule.action is AlertAction.REMEDIATE)
        except ConfigError as error:
            return str(error), ""
        return "", opened.id


GateName = Annotated[
    Literal["confirm-rollout", "confirm-traffic-increase", "confirm-promotion"], Path(description="Flagger's gate.")
]


def _add_flagger(router: APIRouter, service: Service, views: Views, sweep: Sweeper) -> None:
    def judged(call: FlaggerCall) -> models.Verdict:
        name = call.metadata.get("target", "")
        views.require(name)
        return models.Verdict.model_validate(verdict_json(service, name))

    @router.post("/flagger/rollback", **asks(Scope.READ, 404, body=True))
    async def roll_back(call: FlaggerCall) -> models.Verdict:
        """Answer 200 where the target is found unsafe: Flagger rolls back; 403 otherwise."""
        return _held(judged(call), "unsafe")

    @router.post("/flagger/event", **asks(Scope.OPERATE, 404, body=True))
    async def take_event(call: FlaggerCall) -> models.SweepAsked:
        """Take an event of a canary: its target is probed at once."""
        name = call.metadata.get("target", "")
        views.require(name)
        if not views.paused(name).paused:
            sweep(name)
        return models.SweepAsked(target=name, asked_at=service.clock())

    @router.post("/flagger/{gate}", **asks(Scope.READ, 404, body=True))
    async def confirm(gate: GateName, call: FlaggerCall) -> models.Verdict:
        """Answer 200 where the target is found safe: Flagger goes on; 403 otherwise, and it waits."""
        del gate
        return _held(judged(call), "safe")


def _held(verdict: models.Verdict, wanted: str) -> models.Verdict:
    """Return a verdict that is the wanted one.

    Raises:
        Problem: It is another one; Flagger reads the status alone.
    """
    if verdict.verdict == wanted:
        return verdict
    raise Problem(
        status=403, kind=f"not-{wanted}", title=f"Not found {wanted}",
        detail=f"target {verdict.target} is {verdict.verdict}: {verdict.why}",
    )  # fmt: skip
