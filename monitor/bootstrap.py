"""The composition root: settings become plugins, plugins become ports, ports become the service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from deploy.deployer import Deployer
from monitor.errors import ConfigError
from monitor.executors.local import LocalExecutor
from monitor.measure import Measure
from monitor.plugins import make_plugin, plugin_names
from monitor.policy import Rates, Schedule
from monitor.service import Service
from monitor.settings import Settings
from monitor.site import Recipe, Site
from monitor.stores.sql import SqlStore
from monitor.target_settings import SuiteSettings, TargetSettings
from probes.attack import Attack
from probes.behavior import Suite, SuiteKind
from probes.errors import SuiteError
from probes.judge import Judge
from probes.probe import Sampling
from probes.suites import builtin
from probes.target import Target
from probes.task import Task
from remediation.verification import Gates

__all__ = ["build", "utc_now"]

log = logging.getLogger("alignd")


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def build(settings: Settings, *, clock: Callable[[], datetime] = utc_now) -> Service:
    """Make the service of the settings; nothing is asked or changed yet.

    Raises:
        PluginError: A plugin is missing or refuses its options.
        ConfigError: A suite is not what its place needs.
        StoreError: The store can't be opened.
    """
    sites = {t.name: _site(t, settings, clock) for t in settings.targets}
    return Service(sites=sites, store=SqlStore(settings.store.url), clock=clock)


def _site(target: TargetSettings, settings: Settings, clock: Callable[[], datetime]) -> Site:
    where = f"targets.{target.name}"
    statistics, schedule = target.statistics, target.schedule
    for recipe in target.recipes:
        if recipe.plugin not in (names := plugin_names("alignd.patchers")):
            raise ConfigError(f"{where}.recipes: no recipe {recipe.plugin!r}; there are: {', '.join(names)}")
    return Site(
        name=target.name,
        endpoint=target.endpoint,
        mode=target.mode,
        containment=target.containment,
        target=_target_at(target, target.endpoint),
        target_at=lambda endpoint: _target_at(target, endpoint),
        measure=_measure(target, settings.key.get_secret_value(), clock),
        deployer=_deployer(target),
        executor=LocalExecutor(timeout_seconds=target.patch_timeout_seconds),
        recipes=tuple(Recipe(plugin=r.plugin, options=r.options) for r in target.recipes),
        gates=Gates(**target.gates.model_dump()),
        rates=Rates(**statistics.model_dump()),
        schedule=Schedule(**schedule.model_dump()),
        releases=settings.releases,
        checkpoint=target.checkpoint,
        last_known_good=target.last_known_good,
        approval_hours=target.approval_hours,
    )


def _target_at(target: TargetSettings, endpoint: str) -> Target:
    options: dict[str, Any] = {
        "name": target.name,
        "endpoint": endpoint,
        "model": target.model,
        "api_key": target.api_key,
        "timeout_seconds": target.sampling.timeout_seconds,
        "connections": target.sampling.concurrency,
        **target.target.options,
    }
    made: Target = make_plugin("alignd.targets", target.target.plugin, options, where=f"targets.{target.name}.target")
    return made


def _deployer(target: TargetSettings) -> Deployer:
    options = dict(target.deployer.options)
    if target.deployer.plugin == "external":
        options.setdefault("endpoint", target.endpoint)
    made: Deployer = make_plugin(
        "alignd.deployers", target.deployer.plugin, options, where=f"targets.{target.name}.deployer"
    )
    return made


def _measure(target: TargetSettings, key: str, clock: Callable[[], datetime]) -> Measure:
    where, sampling = f"targets.{target.name}", target.sampling
    judge: Judge = make_plugin(
        "alignd.judges", target.judge.plugin, target.judge.options, where=f"{where}.judge"
    )
    suites = target.suites
    attack: Attack = make_plugin(
        "alignd.attacks", target.attack.plugin, target.attack.options, where=f"{where}.attack"
    )
    task = _task(suites, f"{where}.suites.task")

    def sampled(tokens: int, top_logprobs: int = 0) -> Sampling:
        return Sampling(
            max_tokens=tokens, temperature=sampling.temperature, top_p=sampling.top_p, top_logprobs=top_logprobs
        )

    return Measure(
        harm=_suite(suites.harm, SuiteKind.HARM, f"{where}.suites.harm"),
        benign=tuple(_suite(name, SuiteKind.BENIGN, f"{where}.suites.benign") for name in suites.benign),
        task=task.suite if task else None,
        judge=judge,
        task_judge=task.judge if task else None,
        attack=attack,
        sampling=sampled(sampling.max_tokens),
        task_sampling=sampled(
            sampling.task_max_tokens or (task.max_tokens if task else sampling.max_tokens),
            task.top_logprobs if task else 0,
        ),
        task_attack=_task_attack(task, attack, where) if task else None,
        site_key=key,
        concurrency=sampling.concurrency,
        deadline_seconds=sampling.deadline_seconds,
        clock=clock,
        new_id=lambda: uuid4().hex[:12],
    )


def _suite(name: str, kind: SuiteKind, where: str) -> Suite:
    try:
        suite = builtin(name)
    except SuiteError as error:
        raise ConfigError(f"{where}: {error}") from error
    if suite.kind is not kind:
        raise ConfigError(f"{where}: suite {name} holds {suite.kind.value} prompts; choose one of kind {kind.value}")
    return suite


def _task(suites: SuiteSettings, where: str) -> Task | None:
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


def _task_attack(task: Task, attack: Attack, where: str) -> Attack:
    """Ask a task plainly: what a model can do under an attack is another question."""
    if task.attack is not None or attack.name == "direct":
        return task.attack or attack
    plain: Attack = make_plugin("alignd.attacks", "direct", {}, where=f"{where}.attack")
    return plain
