"""Settings of one target.

Each field's docstring says what it is, its unit, and why its default is what it is; ``alignd config check`` and the
reference page quote them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from deploy.adapter import check_whole
from deploy.checkpoint import check_checkpoint, find_release
from deploy.errors import DeployError
from monitor.gate_settings import GateSettings
from monitor.policy import Containment, Mode
from monitor.rail_settings import RailSettings
from monitor.secret import Secret
from monitor.section import Section
from monitor.statistics_settings import JudgeCheckSettings, ProofSettings, StatisticsSettings, TripwireSettings
from remediation.patch import DEVICE

__all__ = [
    "GateSettings",
    "PluginSettings",
    "SamplingSettings",
    "ScheduleSettings",
    "Section",
    "StatisticsSettings",
    "SuiteSettings",
    "TargetSettings",
    "faults_of_folders",
]


def _named(value: object) -> object:
    """Let ``plugin: x`` be written as ``x``."""
    return {"plugin": value} if isinstance(value, str) else value


class PluginSettings(Section):
    """A plugin by its entry point's name, with its own options."""

    plugin: str = Field(min_length=1)
    """Name of the entry point."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The plugin's own options; unknown ones are refused."""


Plugin = Annotated[PluginSettings, BeforeValidator(_named)]
MaybePlugin = Annotated[PluginSettings | None, BeforeValidator(lambda value: _named(value) if value else None)]
"""A plugin, or nothing where it is empty."""


class WeightedPluginSettings(PluginSettings):
    """One part of a mixture."""

    weight: float = Field(default=1.0, gt=0)
    """Its share is its weight over the sum of all weights."""


def _listed(value: object) -> object:
    """Let one plugin be written without a list around it."""
    return [value] if isinstance(value, str | dict) else value


Mixture = Annotated[
    tuple[Annotated[WeightedPluginSettings, BeforeValidator(_named)], ...],
    BeforeValidator(_listed),
    Field(min_length=1),
]


class LoadSettings(Section):
    """What a prober may take of a server that users are on."""

    yields: bool = True
    """Follow the server's own figures and give way to users; false: sampling.concurrency in flight at all times. An
    incident's own probes do not give way: users are exposed."""
    kv_cache_max: float = Field(default=0.8, gt=0, le=1)
    """Share of the server's KV cache in use above which fewer probes are sent."""
    users_share: float = Field(default=0.05, gt=0, le=1)
    """Share of the time in which one probe may be in flight beside users, to begin with and at least. More is taken as
    long as their time to first token does not grow."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Most requests in a minute; none for no bound."""
    tokens_per_day: int | None = Field(default=None, ge=1)
    """Most prompt and reply tokens in a day (UTC); probing then rests until the next one. None for no bound."""


class ScheduleSettings(Section):
    """How often a target is probed and with how many prompts."""

    interval_seconds: float = Field(default=60.0, gt=0, le=31_536_000)
    """Seconds between batches while nothing points to drift; a year at most, as all periods here."""
    batch: int = Field(default=4, ge=1, le=512)
    """Probes of an idle batch. Decisions come once a batch, so a large one wastes half of itself."""
    burst_interval_seconds: float = Field(default=5.0, gt=0, le=31_536_000)
    """Seconds between batches once the evidence is over gamma_warn."""
    burst_batch: int = Field(default=16, ge=1, le=512)
    """Probes of a batch then, and of each batch of a confirmation."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.burst_interval_seconds > self.interval_seconds:
            raise ValueError(
                f"burst_interval_seconds ({self.burst_interval_seconds:g}) must be at most interval_seconds "
                f"({self.interval_seconds:g}): a burst is the faster of the two"
            )
        return self


class SamplingSettings(Section):
    """How the target is asked. ASR depends on it, so it is pinned and is part of the epoch."""

    max_tokens: int = Field(default=128, ge=1)
    """Longest answer to a safety probe, in tokens. Refusals show early; more costs more."""
    task_max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer to a task prompt, in tokens; what the task itself needs where it is not given."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """The deployment's own temperature gives the ASR that users face; 0 repeats best."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling's share."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Probes in flight; keep it well under what the server serves at once."""
    timeout_seconds: float = Field(default=60.0, gt=0, le=31_536_000)
    """Longest wait for one answer, in seconds. After three in a row without any answer the server is taken to hang."""
    deadline_seconds: float = Field(default=900.0, gt=0, le=31_536_000)
    """Longest sweep, in seconds; what is unanswered then is missing."""


class SuiteSettings(Section):
    """What is asked: suites by name (``alignd suites list``) or by the path of a file.

    A relative path counts from the configuration file.
    """

    harm: str = "harm_probe"
    """Harmful requests: ASR and HS. A name or a path."""
    benign: tuple[str, ...] = ("ordinary", "benign_edge")
    """Harmless requests: over-refusal. Names or paths."""
    task: MaybePlugin = None
    """Task with a checker (alignd.tasks), e.g. sql; empty for none. With one, a repair must keep what the release can
    do."""
    task_prompts: int | None = Field(default=None, ge=10, le=2000)
    """Prompts of the task suite, the task's option ``prompts``; the task's own number where it is not given."""

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        if self.task_prompts is not None and self.task is None:
            raise ValueError("task_prompts says how much of a task is asked, and there is none; set task, e.g. to sql")
        if self.task_prompts is not None and self.task and "prompts" in self.task.options:
            raise ValueError("task_prompts and the task's option prompts say the same; leave one of them out")
        return self


class TargetSettings(Section):
    """One deployment to watch."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Name in metrics, incidents and releases: lower-case letters, digits, dashes."""
    endpoint: str = Field(pattern=r"^https?://\S+$")
    """Base URL of the OpenAI-compatible API that users call; ends in /v1."""
    model: str = Field(min_length=1)
    """Served model name."""
    api_key: Secret | None = None
    """Key for the endpoint, if it wants one."""
    checkpoint: Path | None = None
    """Folder of the served checkpoint (safetensors). Needed to repair what no deployer keeps as a release."""
    last_known_good: str = ""
    """Release id or checkpoint folder to go back to until a release was certified by probing."""
    mode: Mode = Mode.OBSERVE
    """observe: nothing that is served changes; propose: a person approves each promotion; auto: everything."""
    containment: Containment = Containment.ROLL_BACK
    """roll_back: serve the last known good release while a repair is made; quarantine: serve nobody, where the deployer
    can (vllm-process), until a release is promoted again; hold: leave the drifted one."""
    target: Plugin = PluginSettings(plugin="openai")
    """How the endpoint is asked (alignd.targets)."""
    attacks: Mixture = (WeightedPluginSettings(plugin="direct"),)
    """How harmful requests are dressed (alignd.attacks): one, or several that are drawn by their weights."""
    load: LoadSettings = LoadSettings()
    """What the prober may take of the server."""
    judge: Plugin = PluginSettings(plugin="refusal-phrases")
    """Who judges the answers (alignd.judges)."""
    deployer: Plugin = PluginSettings(plugin="external")
    """Who changes what is served (alignd.deployers); external: nobody, for mode observe."""
    recipes: tuple[Plugin, ...] = ()
    """Repairs, tried in order until one passes the gates (alignd.patchers)."""
    gates: GateSettings = GateSettings()
    """What a repair must keep."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How often and how much."""
    statistics: StatisticsSettings = StatisticsSettings()
    """The tests' rates."""
    judge_calibration: Path | None = None
    """The judge's calibration.json, as `alignd judge calibrate --out` writes it. With it p0, p1 and theta are true
    ASRs, and the tests allow for the judge's error; without it they are the judge's own. A relative path counts from
    the configuration file."""
    judge_check: JudgeCheckSettings | None = None
    """Hold the judge against labelled replies again and again; none for off."""
    tripwire: TripwireSettings | None = None
    """Look at first tokens' log-probabilities between probes; none for off."""
    proof: ProofSettings | None = ProofSettings()
    """Prove by log-probabilities that servers hold the weights that they name; none for off, and for what no deployer
    of alignd's controls."""
    sampling: SamplingSettings = SamplingSettings()
    """How it is asked."""
    suites: SuiteSettings = SuiteSettings()
    """What is asked."""
    rails: RailSettings = RailSettings()
    """What keeps a remediation from going on by itself."""
    approval_hours: float = Field(default=24.0, gt=0, le=8760)
    """In mode propose: hours until an unanswered proposal lapses."""
    patch_timeout_seconds: float = Field(default=3600.0, gt=0, le=31_536_000)
    """Longest run of one recipe, in seconds."""
    patch_device: str = Field(default="cpu", pattern=rf"^({DEVICE})$")
    """Where recipes compute: cpu, cuda, cuda:1 …. A GPU must have room for two copies of the weights in float32 beside
    the server, for three with a last known good release."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.gates.asr_max > self.statistics.p0:
            raise ValueError(
                f"gates.asr_max ({self.gates.asr_max:g}) must be at most statistics.p0 ({self.statistics.p0:g}), "
                "or an accepted repair would be a breach"
            )
        if self.statistics.theta <= self.gates.asr_max:
            raise ValueError(
                f"statistics.theta ({self.statistics.theta:g}) must be above gates.asr_max ({self.gates.asr_max:g}), "
                "or an accepted repair could never be confirmed"
            )
        if self.mode is not Mode.OBSERVE and self.deployer.plugin == "external":
            raise ValueError(
                f"mode {self.mode.value} needs a deployer that can change what is served; set deployer "
                "(e.g. vllm-process) or mode: observe"
            )
        if self.mode is not Mode.OBSERVE and not self.recipes:
            raise ValueError(f"mode {self.mode.value} needs at least one recipe; set recipes or mode: observe")
        return self


def faults_of_folders(target: TargetSettings, releases: Path) -> list[str]:
    """Say which checkpoints of a target are not there or not whole; only a repair needs them."""
    faults = []
    if target.checkpoint:
        try:
            check_checkpoint(target.checkpoint)
        except DeployError as error:
            faults.append(f"target {target.name}: checkpoint: {error}")
    if target.last_known_good:
        folder = Path(target.last_known_good)
        try:
            if folder.is_dir():
                check_whole(folder)
            else:
                find_release(releases, target.last_known_good)
        except DeployError as error:
            faults.append(f"target {target.name}: last_known_good: {error}")
    return faults
