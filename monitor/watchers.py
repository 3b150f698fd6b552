"""The part of the composition root that makes a target's tests and checks of its settings."""

from __future__ import annotations

from pathlib import Path

from monitor.audits.plan import AuditPlan
from monitor.audits.running import AuditRules
from monitor.judge_check import JudgeCheck, gold_set
from monitor.measure import Measure
from monitor.observed_rates import calibration_of, observed_rates
from monitor.policy import Rates
from monitor.served_check import ServedCheck, served_asker
from monitor.settings import Settings, digest_of
from monitor.store import JudgeBook, LookBook
from monitor.target_settings import TargetSettings
from monitor.tripwire_check import TripwireCheck, tripwire_prompts
from probes.calibration import Calibration
from probes.judge import Judge
from probes.target import Target

__all__ = ["audit_rules", "calibrated", "judge_check_of", "rates_of", "served_of", "tripwire_of"]


def rates_of(target: TargetSettings, judge: Judge) -> Rates:
    """Return the tests' rates: in the judge's own terms where its calibration is given.

    Raises:
        ConfigError: The calibration can't be used, is another judge's, or leaves nothing to tell apart.
    """
    rates = Rates(**target.statistics.model_dump())
    if target.judge_calibration is None:
        return rates
    return observed_rates(
        rates, target.judge_calibration, judge, asr_max=target.gates.asr_max, where=f"targets.{target.name}"
    )


def calibrated(target: TargetSettings, judge: Judge) -> Calibration | None:
    """Return the calibration of a target's judge; ``None`` where the settings give none.

    Raises:
        ConfigError: It can't be used, or is another judge's.
    """
    path = target.judge_calibration
    return calibration_of(path, judge, where=f"targets.{target.name}.judge_calibration") if path else None


def judge_check_of(target: TargetSettings, judge: Judge, book: JudgeBook, *, key: str) -> JudgeCheck | None:
    """Make what checks a target's judge; ``None`` where the settings want no check.

    Args:
        target: Its settings.
        judge: Who judges its answers.
        book: Where verdicts are kept.
        key: The site's key.

    Raises:
        ConfigError: The labelled replies can't be used.
    """
    checked = target.judge_check
    if checked is None:
        return None
    labelled = gold_set(checked.labelled, where=f"targets.{target.name}.judge_check.labelled")
    return JudgeCheck(
        target=target.name, judge=judge, labelled=labelled, book=book, site_key=key, replies=checked.replies,
        gamma=checked.gamma,
    )  # fmt: skip


def tripwire_of(target: TargetSettings, measure: Measure, asked: Target, book: LookBook) -> TripwireCheck | None:
    """Make what looks at a target; ``None`` where the settings want no looks.

    Args:
        target: Its settings.
        measure: How it is measured: its benign suites and the direct request are asked.
        asked: Asks the public endpoint, and gives way to its users.
        book: Where looks are kept.

    Raises:
        ConfigError: There are no benign prompts.
    """
    wanted = target.tripwire
    if wanted is None:
        return None
    return TripwireCheck(
        target=asked, prompts=tripwire_prompts(measure.benign, n=wanted.prompts, key=measure.site_key),
        attack=measure.plain, book=book, site_key=measure.site_key, reference=wanted.reference, gamma=wanted.gamma,
    )  # fmt: skip


def served_of(target: TargetSettings, releases: Path) -> ServedCheck | None:
    """Make what proves what a target's servers hold; ``None`` where the settings want no proof.

    A server that nobody controls has no releases to hold it against.
    """
    if target.proof is None or target.deployer.plugin == "external":
        return None
    key = target.api_key.get_secret_value() if target.api_key else ""
    return ServedCheck(releases=releases, ask=served_asker(target.model, key))


def audit_rules(settings: Settings) -> AuditRules:
    """Return what the settings say of audits."""
    audits = settings.audits
    plans = tuple(AuditPlan(**p.model_dump()) for p in audits.plans)
    return AuditRules(
        folder=audits.folder, private_key=audits.private_key, settings_sha256=digest_of(settings), plans=plans
    )
