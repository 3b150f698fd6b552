"""``alignd simulate``: what a site's own settings find, how soon and at what cost, without a server."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from monitor.errors import ConfigError, unknown_target

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.policy import Rates
    from monitor.target_settings import TargetSettings
    from probes.statistics.judge_error import RoganGladen
    from probes.statistics.simulation.confirmation import Confirmation
    from probes.statistics.simulation.monitoring import Drift, Monitoring

__all__ = ["simulate"]

_CONFIG = Path("alignd.yaml")
_DAY_SECONDS = 86_400.0
_PROMPT_TOKENS = 100
"""Of a probe, where --tokens-per-probe does not say better."""
_RATE = r"(\d*\.?\d+(?:[eE][-+]?\d+)?)"
_DRIFT = re.compile(rf"(?:none|{_RATE}:{_RATE})(?:@(?:(\d+)/)?(\d+))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """How often the judge is right, 1 and 1 where nothing is said; and its calibration, if the daemon is to use it."""

    sensitivity: float = 1.0
    specificity: float = 1.0
    error: RoganGladen | None = None

    def shows(self, rate: float) -> float:
        from probes.statistics.simulation.monitoring import judged_rate

        return judged_rate(rate, sensitivity=self.sensitivity, specificity=self.specificity)


def simulate(
    *,
    drift: Annotated[str, typer.Option(help="ASR before:after, e.g. .02:.30; .02:.95@1/42 where one of 42 equal strata "
                                            "drifts; none (or none@42) for false alarms alone.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")] = _CONFIG,
    target: Annotated[str, typer.Option(help="Target whose settings are taken; the first one if not given.")] = "",
    judge_sensitivity: Annotated[float, typer.Option(help="Share of harmful answers that the judge finds.")] = 1.0,
    judge_specificity: Annotated[float, typer.Option(help="Share of safe answers that the judge passes.")] = 1.0,
    calibration: Annotated[Path | None, typer.Option(help="calibration.json of `alignd judge calibrate`, as if it were "
                                                          "the target's judge_calibration.")] = None,
    missing: Annotated[float, typer.Option(help="Share of probes without a verdict.")] = 0.0,
    rate: Annotated[float | None, typer.Option(help="Probes a day while nothing drifts, instead of the "
                                                    "schedule's.")] = None,
    stratum_p0: Annotated[float | None, typer.Option(help="Highest healthy ASR of one stratum; what a baseline of "
                                                          "the daemon's bounds if not given.")] = None,
    tokens_per_probe: Annotated[float | None, typer.Option(help="Prompt and answer together, for load.tokens_per_day; "
                                                                "sampling.max_tokens + 100 if not given.")] = None,
    runs: Annotated[int, typer.Option(min=20, max=100_000, help="Simulated drifts.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same one gives the same figures.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for the plot (SVG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Say how soon a drift would be found with these settings, how often none would be, and what watching costs.

    Nothing is asked and nothing is sent. See docs/howto/simulate.md for what is modelled.
    """
    import numpy as np

    from monitor.commands.simulation_text import figures, plot, sentences
    from monitor.settings import load_settings
    from probes.statistics.simulation.outlook import simulate as watch

    settings = _target(load_settings(config).targets, target)
    if out and drift.startswith("none"):
        raise ConfigError("--out: without a drift nothing is there to plot; give --drift before:after")
    try:
        judge = _judge(judge_sensitivity, judge_specificity, calibration or settings.judge_calibration)
        rates = _rates(settings, judge)
        watched = replace(_monitoring(settings, rates, rate, tokens_per_probe), stratum_p0=stratum_p0, missing=missing)
        happens = _drift(drift, watched, judge)
        if happens.strata and stratum_p0 is None:
            watched = replace(watched, stratum_p0=_null(happens, rates))
        found = watch(watched, _confirmation(rates), happens, runs=runs, rng=np.random.default_rng(seed))
    except ValueError as error:
        raise ConfigError(f"target {settings.name}: {error}") from error
    told = _told(drift, happens)
    if out:
        _write(out, plot(settings.name, told, watched, found))
    if as_json:
        print(
            json.dumps(
                {"target": settings.name, "drift": drift, "seed": seed, **figures(watched, happens, found)}, indent=2
            )
        )
        return
    about = f"{settings.name}, by the settings of {config}: {told}."
    Console(highlight=False).print(
        about, "", *sentences(watched, happens, found), *_of_judge(judge, settings, watched), sep="\n"
    )


def _target(targets: tuple[TargetSettings, ...], name: str) -> TargetSettings:
    by_name = {t.name: t for t in targets}
    if name and name not in by_name:
        raise unknown_target(name, by_name)
    return by_name[name] if name else targets[0]


def _judge(sensitivity: float, specificity: float, calibration: Path | None) -> _Judge:
    if calibration is None:
        return _Judge(sensitivity=sensitivity, specificity=specificity)
    from probes.calibration import Calibration

    if (sensitivity, specificity) != (1.0, 1.0):
        raise ConfigError("a calibration says how the judge errs; leave --judge-sensitivity and -specificity out")
    try:
        found = Calibration.from_json(json.loads(calibration.read_text(encoding="utf-8")))
        error = found.confusion.error
    except OSError as fault:
        raise ConfigError(f"calibration {calibration} can't be read ({fault.strerror})") from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise ConfigError(f"{calibration} is no calibration.json of `alignd judge calibrate`") from fault
    if found.outcome != "harm" or not (error.positives and error.negatives):
        raise ConfigError(f"{calibration} does not say how the judge errs on harm; label both kinds")
    return _Judge(sensitivity=error.found / error.positives, specificity=error.passed / error.negatives, error=error)


def _rates(settings: TargetSettings, judge: _Judge) -> Rates:
    """Return the tests' rates, as the daemon has them: in the terms of a judge that is calibrated."""
    from monitor.observed_rates import observed
    from monitor.policy import Rates

    rates = Rates(**settings.statistics.model_dump())
    return rates if judge.error is None else observed(rates, judge.error)


def _monitoring(settings: TargetSettings, rates: Rates, rate: float | None, tokens: float | None) -> Monitoring:
    from probes.statistics.simulation.monitoring import Monitoring

    schedule, load = settings.schedule, settings.load
    cost = settings.sampling.max_tokens + _PROMPT_TOKENS if tokens is None else tokens
    for option, value in (("--rate", rate), ("--tokens-per-probe", cost)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{option} = {value:g} must be above 0")
    interval = schedule.interval_seconds if rate is None else schedule.batch * _DAY_SECONDS / rate
    a_day = None if load.tokens_per_day is None else load.tokens_per_day / cost
    if a_day is not None and a_day < 1:
        raise ValueError(
            f"load.tokens_per_day = {load.tokens_per_day} is less than one probe of {cost:g} tokens; allow more, or "
            "say what a probe costs with --tokens-per-probe"
        )
    return Monitoring(
        p0=rates.p0, p1=rates.p1, gamma_warn=rates.gamma_warn, gamma_breach=rates.gamma_breach,
        interval_seconds=interval, batch=schedule.batch,
        burst_interval_seconds=min(schedule.burst_interval_seconds, interval), burst_batch=schedule.burst_batch,
        epsilon=rates.epsilon, requests_per_minute=load.requests_per_minute, probes_per_day=a_day,
    )  # fmt: skip


def _null(happens: Drift, rates: Rates) -> float:
    """Return what the daemon would hold each stratum against: the bound that a baseline of a good release gives."""
    from monitor.baseline import Baseline, Tally

    n = rates.baseline_probes // happens.strata
    tally = Tally(n=n, harmful=round(happens.before * n))
    nulls = Baseline(release="", strata={str(k): tally for k in range(happens.strata)}).nulls(rates.p0)
    if "0" not in nulls:
        raise ValueError(
            f"a baseline of {rates.baseline_probes} probes leaves {n} to each of {happens.strata} strata: too few to "
            "watch one by itself; simulate fewer strata, or say what bounds them with --stratum-p0"
        )
    return nulls["0"]


def _confirmation(rates: Rates) -> Confirmation:
    from probes.statistics.simulation.confirmation import Confirmation

    return Confirmation(p0=rates.p0, p1=rates.p1, alpha=rates.alpha, beta=rates.beta, cap=rates.cap)


def _drift(text: str, watched: Monitoring, judge: _Judge) -> Drift:
    """Read --drift, and turn its rates into those that the judge shows."""
    from probes.statistics.simulation.monitoring import Drift

    said = _DRIFT.fullmatch(text.replace(" ", ""))
    none = said is not None and said[1] is None
    if said is None or (said[3] is not None if none else (said[3] is None) != (said[4] is None)):
        raise ConfigError(f"--drift {text}: write before:after as in .02:.30, .02:.95@1/42 for one of 42 strata, none "
                          "or none@42")  # fmt: skip
    strata = int(said[4] or 0)
    if none:
        return Drift(before=min(watched.p0, watched.null) if strata else watched.p0, strata=strata)
    true = Drift(before=float(said[1]), after=float(said[2]), strata=strata, drifted=int(said[3] or 0))
    shown = Drift(
        before=judge.shows(true.before), after=judge.shows(float(said[2])), strata=strata, drifted=true.drifted
    )
    if true.before <= watched.p0 < shown.before:
        raise ValueError(
            f"such a judge shows an ASR of {true.before:g} as {shown.before:.3g}, above p0 = {watched.p0:g}: a healthy "
            "target would be called a breach; raise statistics.p0 above it, or take a judge of higher specificity"
        )
    return shown


def _told(drift: str, happens: Drift) -> str:
    if happens.after is None:
        of = f" in each of {happens.strata} strata" if happens.strata else ""
        return f"nothing drifts, the ASR is {happens.before:g}{of}"
    rates, _, _ = drift.partition("@")
    before, after = rates.split(":")
    of = f" in {happens.drifted} of {happens.strata} strata" if happens.strata else ""
    return f"the ASR went from {float(before):g} to {float(after):g}{of}"


def _of_judge(judge: _Judge, settings: TargetSettings, watched: Monitoring) -> list[str]:
    if judge == _Judge():
        return []
    shown = (
        f"The judge finds {judge.sensitivity:.3g} of harmful answers and passes {judge.specificity:.3g} of safe ones. "
    )
    if judge.error is not None:
        p0, p1 = settings.statistics.p0, settings.statistics.p1
        return [f"{shown}Its calibration makes {watched.p0:.3g} of p0 = {p0:g}, and {watched.p1:.3g} of p1 = {p1:g}."]
    least = (watched.p0 - 1 + judge.specificity) / (judge.sensitivity + judge.specificity - 1)
    return [f"{shown}p0 = {watched.p0:g} of its verdicts is a true ASR of {max(0.0, least):.3g}."]


def _write(file: Path, drawn: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out: {file} can't be written ({error.strerror}); give another file") from error
