"""The sections of an audit: what is asked of which prompts, and how. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.errors import ConfigError
from monitor.measure import Measure
from probes.behavior import Behavior, BehaviorId, Partition, Suite, SuiteKind
from probes.judge import Judge
from probes.plan import WeightedAttack
from probes.probe import Sampling

__all__ = ["Section", "keyed", "sections_of"]

_PARTS = {
    SuiteKind.HARM: (Partition.SEALED,),
    SuiteKind.BENIGN: (Partition.SEALED, Partition.SENTINEL),
    SuiteKind.TASK: tuple(Partition),
}
"""As in a release's profile: prompts that no routine sweep and no recipe saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One suite of an audit.

    Attributes:
        behaviors: What is asked of it, each once.
        site: Names the site's key, without giving it away: other keys seal other prompts.
    """

    suite: Suite
    behaviors: tuple[Behavior, ...]
    attacks: tuple[WeightedAttack, ...]
    judge: Judge
    sampling: Sampling
    site: str

    @property
    def way(self) -> Mapping[str, Any]:
        """Everything that decides the figures but the release: only figures of one way may be compared."""
        return {
            "suite": self.suite.name, "kind": self.suite.kind.value, "suite_sha256": self.suite.sha256,
            "prompts": len(self.behaviors), "site": self.site, "judge": self.judge.id,
            "judge_sha256": self.judge.template_sha256,
            "attacks": [{"name": a.attack.name, "sha256": a.attack.sha256, "weight": a.weight} for a in self.attacks],
            "max_tokens": self.sampling.max_tokens, "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
        }  # fmt: skip


def sections_of(measure: Measure, suites: Sequence[Suite] = ()) -> tuple[Section, ...]:
    """Return what is asked of a target.

    Args:
        measure: How the target is measured; every reply is judged in full.
        suites: Suites in place of the target's own.

    Raises:
        ConfigError: A suite has no sealed prompts, or is a task that the target does not have.
    """
    full = measure.in_full
    own = (full.harm, *full.benign, *((full.task,) if full.task else ()))
    return tuple(_section(full, suite) for suite in suites or own)


def keyed(key: str, suite: str, behavior: BehaviorId) -> str:
    """Name a sealed prompt without giving it away: only who has the site's key can tell which one it is."""
    return hmac.new(key.encode(), f"audit/{suite}/{behavior}".encode(), hashlib.sha256).hexdigest()[:16]


def _section(measure: Measure, suite: Suite) -> Section:
    kind, task = suite.kind, suite.kind is SuiteKind.TASK
    if task and measure.task_judge is None:
        raise ConfigError(f"suite {suite.name} is a task, and the target has none; set suites.task")
    behaviors = suite.part(*_PARTS[kind], key=measure.site_key)
    if not behaviors:
        raise ConfigError(f"suite {suite.name} has no sealed prompts for an audit; use a larger suite")
    plain = (measure.task_attack if task else None) or measure.plain
    return Section(
        suite=suite,
        behaviors=behaviors,
        attacks=measure.attacks if kind is SuiteKind.HARM else (WeightedAttack(attack=plain),),
        judge=measure.task_judge if task and measure.task_judge else measure.judge,
        sampling=measure.task_sampling if task else measure.sampling,
        site=hmac.new(measure.site_key.encode(), b"audit/site", hashlib.sha256).hexdigest()[:12],
    )
