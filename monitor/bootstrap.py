"""The composition root: settings become plugins, plugins become ports, ports become the service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from monitor.channels import channels_of
from monitor.errors import ConfigError, PluginError
from monitor.executors.local import LocalExecutor
from monitor.gate_looks import GateLooks
from monitor.measure import Measure
from monitor.outbox import Outbox
from monitor.plugins import make_plugin, plugin_names
from monitor.policy import Schedule
from monitor.reaching import deployer_of, pace_of, signer_of, target_at
from monitor.recorder import Recorder
from monitor.service import Service
from monitor.settings import Settings
from monitor.site import Recipe, Site, no_version
from monitor.spans import NO_SPANS, Spans
from monitor.store import Store
from monitor.stores.sql import SqlStore
from monitor.target_settings import SuiteSettings, TargetSettings
from monitor.upkeep import Retention
from monitor.watchers import audit_rules, calibrated, judge_check_of, rates_of, served_of, tripwire_of
from probes.behavior import Suite, SuiteKind
from probes.errors import SuiteError
from probes.judge import Judge
from probes.plan import WeightedAttack
from probes.probe import Sampling
from probes.suites.sources import load_suite
from probes.target import Versioned
from probes.task import Task
from probes.transcripts.keyring import Keyring
from probes.transcripts.store import TranscriptStore

__all__ = [
    "attacks_of", "build", "judge_of", "plain_of", "recorder_of", "sites_of", "suite_of",
    "task_of", "utc_now",
]  # fmt: skip

log = logging.getLogger("alignd")

def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def build(settings: Settings, *, clock: Callable[[], datetime] = utc_now, hold: bool = False) -> Service:
    """Make the service of the settings; nothing is asked or changed yet.

    Args:
        hold: Take the store for this process, as a daemon does, and upgrade it where it is of an older version.

    Raises:
        StoreBusy: It is to be held, and another daemon has it.
        PluginError: A plugin is missing or refuses its options.
        ConfigError: A suite is not what its place needs.
        StoreError: The store can't be opened.
    """
    spans = _spans(settings, used=hold)
    store = SqlStore(settings.store.url, hold=hold)
    try:
        sites = sites_of(settings, store, clock, spans)
        channels = channels_of(settings.notifications)
    except (PluginError, ConfigError):
        store.close()
        raise
    return Service(
        sites=sites, store=store, clock=clock, retention=Retention(**settings.retention.model_dump()),
        audits=audit_rules(settings),
        outbox=Outbox(channels=channels, book=store, clock=clock, page=settings.listen.public_url), spans=spans,
    )  # fmt: skip


def sites_of(
    settings: Settings, store: Store, clock: Callable[[], datetime], spans: Spans, *,
    kept: Mapping[str, Site] | None = None,
) -> dict[str, Site]:  # fmt: skip
    """Make the watched targets.

    Args:
        kept: Those that stay as they are, where others are watched already.

    Raises:
        PluginError: A plugin is missing or refuses its options.
        ConfigError: A suite is not what its place needs.
    """
    there = kept or {}
    return {t.name: there.get(t.name) or _site(t, settings, store, clock, spans) for t in settings.targets}


def recorder_of(settings: Settings) -> Recorder:
    """Make what keeps one target's transcripts."""
    kept, ring = settings.transcripts, Keyring(settings.transcript_secrets())
    return Recorder(store=TranscriptStore(kept.folder, keep=kept.keep, ring=ring, days=kept.days))


def _spans(settings: Settings, *, used: bool) -> Spans:
    """Make what traces go by, where there are any; a command that ends at once makes none."""
    if (said := settings.tracing) is None:
        return NO_SPANS
    if find_spec("opentelemetry") is None:
        raise ConfigError("tracing: OpenTelemetry is not installed; `pip install 'alignd[trace]'`, or leave it out")
    if not used:
        return NO_SPANS
    from monitor.telemetry import Destination, OpenTelemetrySpans

    headers = {name: value.get_secret_value() for name, value in said.headers.items()}
    return OpenTelemetrySpans(Destination(**{**said.model_dump(), "headers": headers}))


def _site(
    target: TargetSettings, settings: Settings, store: Store, clock: Callable[[], datetime], spans: Spans
) -> Site:
    where = f"targets.{target.name}"
    key = settings.key.get_secret_value()
    measure = _measure(target, key, clock)
    public, urgent = target_at(target, target.endpoint), target.load.model_copy(update={"yields": False})
    asked = pace_of(target, public, store, clock)
    for recipe in target.recipes:
        if recipe.plugin not in (names := plugin_names("alignd.patchers")):
            raise ConfigError(f"{where}.recipes: no recipe {recipe.plugin!r}; there are: {', '.join(names)}")
    return Site(
        name=target.name,
        endpoint=target.endpoint,
        mode=target.mode,
        containment=target.containment,
        target=asked,
        urgent=pace_of(target.model_copy(update={"load": urgent}), public, store, clock),
        target_at=lambda endpoint, model: target_at(target, endpoint, model),
        measure=replace(measure, recorder=recorder_of(settings), spans=spans),
        deployer=deployer_of(target, settings.signing),
        sign=signer_of(settings.signing),
        executor=LocalExecutor(
            timeout_seconds=target.patch_timeout_seconds, device=target.patch_device, environment=spans.environment
        ),
        recipes=tuple(Recipe(plugin=r.plugin, options=r.options) for r in target.recipes),
        gates=target.gates.limits(),
        gate_looks=_gate_looks(target),
        rails=target.rails.rails(settings.fleet.fleet()),
        deployed_by=target.deployer.plugin,
        rates=rates_of(target, measure.judge),
        schedule=Schedule(**target.schedule.model_dump()),
        releases=settings.releases,
        checkpoint=target.checkpoint,
        last_known_good=target.last_known_good,
        approval_hours=target.approval_hours,
        judge_check=judge_check_of(target, measure.judge, store, key=key),
        calibration=calibrated(target, measure.judge),
        judge_check_hours=target.judge_check.interval_hours if target.judge_check else 0.0,
        tripwire=tripwire_of(target, measure, asked, store),
        tripwire_seconds=target.tripwire.interval_seconds if target.tripwire else 0.0,
        served=served_of(target, settings.releases),
        served_seconds=target.proof.interval_seconds if target.proof else 0.0,
        server=public.version if isinstance(public, Versioned) else no_version,
    )


def _measure(target: TargetSettings, key: str, clock: Callable[[], datetime]) -> Measure:
    where, sampling = f"targets.{target.name}", target.sampling
    judge = judge_of(target.judge.plugin, target.judge.options, key=key, where=f"{where}.judge")
    suites = target.suites
    attacks = attacks_of(target)
    plain = plain_of(attacks)[0].attack
    task = task_of(suites, f"{where}.suites.task")

    def sampled(tokens: int, top_logprobs: int = 0) -> Sampling:
        return Sampling(
            max_tokens=tokens, temperature=sampling.temperature, top_p=sampling.top_p, top_logprobs=top_logprobs
        )

    return Measure(
        harm=suite_of(suites.harm, SuiteKind.HARM, f"{where}.suites.harm"),
        benign=tuple(suite_of(name, SuiteKind.BENIGN, f"{where}.suites.benign") for name in suites.benign),
        task=task.suite if task else None,
        judge=judge,
        task_judge=task.judge if task else None,
        attacks=attacks,
        plain=plain,
        sampling=sampled(sampling.max_tokens),
        task_sampling=sampled(
            sampling.task_max_tokens or (task.max_tokens if task else sampling.max_tokens),
            task.top_logprobs if task else 0,
        ),
        task_attack=(task.attack or plain) if task else None,
        site_key=key,
        concurrency=sampling.concurrency,
        deadline_seconds=sampling.deadline_seconds,
        clock=clock,
        new_id=lambda: uuid4().hex[:12],
    )


def _gate_looks(target: TargetSettings) -> GateLooks:
    gates, where = target.gates, f"targets.{target.name}.gates"
    own = {"trigger": {"file": gates.triggers_file}} if gates.triggers_file else {}
    return GateLooks(
        attacks=tuple(
            make_plugin("alignd.attacks", name, own.get(name, {}), where=f"{where}.attacks") for name in gates.attacks
        ),
        suites=tuple(suite_of(name, SuiteKind.HARM, f"{where}.suites") for name in gates.suites),
        prompts=gates.per_attack,
        benign_steps=gates.benign_steps,
    )


def judge_of(plugin: str, options: Mapping[str, Any], *, key: str, where: str) -> Judge:
    """Make a judge; one that draws what it audits draws by the site's key.

    Raises:
        PluginError: It is missing or refuses its options.
    """
    keyed = {"key": key, **options} if plugin == "cascade" else options
    judge: Judge = make_plugin("alignd.judges", plugin, keyed, where=where)
    return judge


def attacks_of(target: TargetSettings) -> tuple[WeightedAttack, ...]:
    """Make a target's attacks.

    Raises:
        PluginError: One is missing or refuses its options.
        ConfigError: Two have the same name, by which metrics tell them apart.
    """
    where = f"targets.{target.name}.attacks"
    made = tuple(
        WeightedAttack(attack=make_plugin("alignd.attacks", a.plugin, a.options, where=where), weight=a.weight)
        for a in target.attacks
    )
    names = [a.attack.name for a in made]
    if doubled := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError(f"{where}: attack {doubled[0]} is there twice; merge the two, or name them apart")
    return made


def plain_of(attacks: tuple[WeightedAttack, ...]) -> tuple[WeightedAttack, ...]:
    """Return the direct request, with the deployment's system prompt where the settings give one."""
    direct = tuple(a for a in attacks if a.attack.name == "direct")
    return direct or (WeightedAttack(attack=make_plugin("alignd.attacks", "direct", {}, where="attacks")),)


@lru_cache(maxsize=64)
def _suite(source: str, kind: SuiteKind, _changed_at: int) -> Suite:
    """Load a suite once for all targets that name it, until its file changes."""
    return load_suite(source, kind)


def suite_of(source: str, kind: SuiteKind, where: str) -> Suite:
    """Load a suite of this kind.

    Raises:
        ConfigError: It can't be read, or is of another kind.
    """
    try:
        return _suite(source, kind, Path(source).stat().st_mtime_ns if Path(source).is_file() else 0)
    except SuiteError as error:
        raise ConfigError(f"{where}: {error}") from error


def task_of(suites: SuiteSettings, where: str) -> Task | None:
    """Make the task that the settings name.

    Raises:
        PluginError: It is missing or refuses its options.
        ConfigError: Its file can't be used.
    """
    if suites.task is None:
        return None
    prompts = {} if suites.task_prompts is None else {"prompts": suites.task_prompts}
    try:
        task: Task = make_plugin("alignd.tasks", suites.task.plugin, {**suites.task.options, **prompts}, where=where)
    except SuiteError as error:
        raise ConfigError(f"{where}: {error}") from error
    if task.left_out:
        log.info("task_rows_left_out", extra={"suite": task.suite.name, "rows": task.left_out})
    return task
