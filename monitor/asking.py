"""From arguments and configuration to what is asked: the composition root of ``alignd probe``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from httpx import URL
from pydantic import ValidationError

from monitor.bootstrap import attacks_of, judge_of, plain_of, recorder_of, suite_of, utc_now
from monitor.errors import ConfigError, unknown_target
from monitor.on_demand import Asking
from monitor.plugins import make_plugin
from monitor.policy import Rates
from monitor.probe_settings import AskSettings, Part
from monitor.reaching import pace_of, target_at
from monitor.recorder import Recorder
from monitor.settings import load_settings
from monitor.stores.sql import SqlStore
from monitor.target_settings import TargetSettings, WeightedPluginSettings
from probes.behavior import Behavior, Partition, Suite, SuiteKind
from probes.errors import SuiteError
from probes.judge import Closing, Judge
from probes.plan import WeightedAttack
from probes.probe import Sampling
from probes.suites.sources import open_suite
from probes.task import Task

__all__ = ["asking_of", "closing"]

T = TypeVar("T")
_AD_HOC, _AD_HOC_KEY = "ad-hoc", "ad hoc"
_DRAWN, _DECIDED_MAX = 100, 400


def asking_of(ask: AskSettings, config: Path | None) -> tuple[Asking, Callable[[], None]]:
    """Put together what is asked.

    Args:
        config: Configuration file; ``None`` where an endpoint is given without one.

    Returns:
        What is asked, and what closes the store at the end.

    Raises:
        ConfigError: Something that was given can't be used.
    """
    if config is None:
        return _asking(_ad_hoc(ask), ask, _AD_HOC_KEY, None, Recorder()), lambda: None
    if not config.exists():
        raise ConfigError(f"{config}: no such file; `alignd init` writes one, or give --endpoint and --model")
    settings = load_settings(config)
    names = [t.name for t in settings.targets]
    if ask.target and ask.target not in names:
        raise unknown_target(ask.target, names)
    target = settings.targets[names.index(ask.target) if ask.target else 0]
    store = SqlStore(settings.store.url)
    try:
        return _asking(target, ask, settings.key.get_secret_value(), store, recorder_of(settings)), store.close
    except BaseException:
        store.close()
        raise


async def closing(work: Awaitable[T], asking: Asking, close: Callable[[], None]) -> T:
    """Do the work, then close target, judge and store."""
    try:
        return await work
    finally:
        await asking.target.aclose()
        if isinstance(asking.judge, Closing):
            await asking.judge.aclose()
        close()


def _ad_hoc(ask: AskSettings) -> TargetSettings:
    if not ask.model:
        raise ConfigError("--endpoint needs --model, the served model's name")
    try:
        return TargetSettings.model_validate(
            {"name": _AD_HOC, "endpoint": ask.endpoint, "model": ask.model, "api_key": ask.api_key or None}
        )
    except ValidationError as error:
        faults = {e["loc"][0]: f"--{e['loc'][0]}: {e['msg'][:1].lower()}{e['msg'][1:]}" for e in error.errors()}
        if "endpoint" in faults:
            faults["endpoint"] = f"--endpoint: {ask.endpoint[:80]!r} is no URL; write it like http://127.0.0.1:8000/v1"
        raise ConfigError("; ".join(faults.values())) from error


def _asking(
    target: TargetSettings, ask: AskSettings, key: str, store: SqlStore | None, recorder: Recorder
) -> Asking:
    sampling = target.sampling.model_copy(
        update={
            name: value
            for name, value in (
                ("max_tokens", ask.max_tokens), ("temperature", ask.temperature), ("concurrency", ask.concurrency),
                ("timeout_seconds", ask.timeout),
            )
            if value is not None
        }
    )  # fmt: skip
    load = target.load.model_copy(update={"yields": False} if ask.full_speed else {})
    asked = target.target
    if not ask.fingerprint:
        asked = asked.model_copy(update={"options": {**asked.options, "fingerprint": False}})
    target = target.model_copy(
        update={
            "sampling": sampling, "load": load, "target": asked, "attacks": _mixture(ask) or target.attacks,
        }
    )  # fmt: skip
    _require_used(ask, target)
    task = _task(ask)
    suite = task.suite if task else _suite(ask, target)
    attacks = attacks_of(target)
    if task and task.attack:
        attacks = (WeightedAttack(attack=task.attack),)
    elif suite.kind is not SuiteKind.HARM and not ask.attacks:
        attacks = plain_of(attacks)
    return Asking(
        target=pace_of(target, target_at(target, target.endpoint), store, utc_now),
        endpoint=str(URL(target.endpoint).copy_with(username=None, password=None)),
        model=target.model,
        part=_part_of(ask, key).value,
        judge=task.judge if task else _judge(ask, target, key),
        suite=suite,
        behaviors=suite.behaviors if task else _part(suite, ask, key),
        attacks=attacks,
        sampling=Sampling(
            max_tokens=(ask.max_tokens or task.max_tokens) if task else sampling.max_tokens,
            temperature=sampling.temperature, top_p=sampling.top_p, top_logprobs=task.top_logprobs if task else 0,
        ),
        key=key,
        n=None if ask.each or (task and ask.n is None) else ask.n or (_DECIDED_MAX if ask.until_decided else _DRAWN),
        until_decided=ask.until_decided and suite.kind is SuiteKind.HARM,
        rates=Rates(**target.statistics.model_dump()),
        concurrency=sampling.concurrency,
        deadline_seconds=max(sampling.deadline_seconds, 3600.0),
        texts=ask.with_text,
        recorder=recorder,
    )  # fmt: skip


def _judge(ask: AskSettings, target: TargetSettings, key: str) -> Judge:
    name, options, where = ask.judge, ask.judge_options, "--judge"
    if not name:
        name, options, where = target.judge.plugin, target.judge.options, f"targets.{target.name}.judge"
    return judge_of(name, options, key=key, where=where)


def _task(ask: AskSettings) -> Task | None:
    if not ask.task:
        if ask.task_options:
            raise ConfigError("--task-options: there is no --task")
        return None
    if ask.suite or ask.judge or ask.attacks:
        raise ConfigError("--task brings its own suite, judge and attack; leave --suite, --judge and --attacks out")
    task: Task = make_plugin("alignd.tasks", ask.task, ask.task_options, where="--task")
    return task


def _suite(ask: AskSettings, target: TargetSettings) -> Suite:
    if not ask.suite:
        return suite_of(target.suites.harm, SuiteKind.HARM, f"targets.{target.name}.suites.harm")
    try:
        kind = SuiteKind(ask.kind) if ask.kind else None
    except ValueError:
        raise ConfigError(f"--kind {ask.kind}: there are harm and benign") from None
    try:
        return open_suite(ask.suite, kind).suite
    except SuiteError as error:
        raise ConfigError(f"--suite: {error}") from error


def _part(suite: Suite, ask: AskSettings, key: str) -> tuple[Behavior, ...]:
    """Return the part to draw from; without a configuration nothing is sealed."""
    part = _part_of(ask, key)
    if part is Part.ALL:
        return suite.behaviors
    found = suite.part(Partition(part.value), key=key)
    if not found:
        raise ConfigError(f"suite {suite.name} has no {part.value} prompts; take --part all or a larger suite")
    return found


def _part_of(ask: AskSettings, key: str) -> Part:
    """Return the part that is meant; without a configuration nothing is set apart, and a task is asked whole."""
    if ask.part:
        return ask.part
    return Part.ALL if ask.task or key == _AD_HOC_KEY else Part.ROTATING


def _require_used(ask: AskSettings, target: TargetSettings) -> None:
    """Refuse what would be left out without a word.

    Raises:
        ConfigError: An option is given that another one makes meaningless.
    """
    faults = (
        (ask.judge_options and not ask.judge, "--judge-options needs --judge"),
        (ask.attack_options and not ask.attacks, "--attack-options needs --attacks"),
        (ask.kind and not ask.suite, "--kind says what the prompts of --suite are; give one"),
        (ask.n and ask.each, "--n draws, --each asks each behavior once; give one of them"),
        (ask.until_decided and ask.each, "--until-decided draws; leave --each out"),
        (ask.task and (ask.part or ask.until_decided), "a task is asked whole; leave --part and --until-decided out"),
        (ask.part not in {None, Part.ALL} and target.name == _AD_HOC, "--part needs a configuration: it has the key"),
    )  # fmt: skip
    for wrong, message in faults:
        if wrong:
            raise ConfigError(message)


def _mixture(ask: AskSettings) -> tuple[WeightedPluginSettings, ...]:
    """Read ``direct,role-play=2``."""
    parts = []
    for word in (w.strip() for w in ask.attacks.split(",")) if ask.attacks else ():
        name, _, weight = word.partition("=")
        options = ask.attack_options.get(name, {})
        if not name or not isinstance(options, dict):
            raise ConfigError(f"--attacks {ask.attacks}, --attack-options: write names, and an object for each name")
        try:
            parts.append(WeightedPluginSettings(plugin=name, options=dict(options), weight=float(weight or 1)))
        except ValueError as error:
            raise ConfigError(f"--attacks {word}: write names with weights above 0, e.g. direct,role-play=2") from error
    if unused := sorted(set(ask.attack_options) - {p.plugin for p in parts}):
        raise ConfigError(f"--attack-options: {unused[0]} is not among --attacks")
    return tuple(parts)
