"""One watched target with everything it takes to measure, repair and redeploy it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.checkpoint import Release
from deploy.deployer import Deployer, DeploymentState
from deploy.errors import DeployerUnavailable
from deploy.offers import closing
from monitor.executor import Executor
from monitor.gate_looks import GateLooks
from monitor.judge_check import JudgeCheck
from monitor.measure import Measure
from monitor.policy import Containment, Mode, Rates, Schedule
from monitor.rails import Rails
from monitor.served_check import ServedCheck
from monitor.tripwire_check import TripwireCheck
from probes.calibration import Calibration
from probes.target import Target
from remediation.verification import Gates

__all__ = ["Recipe", "Say", "Site", "no_signature", "no_version"]

Say = Callable[[str, float], None]
"""Called with what is being done and the share done in [0, 1]."""


def no_signature(_: Release) -> None:
    """Leave a release unsigned."""


async def no_version() -> str:
    """Say nothing of the serving software."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One rung of the ladder: a patcher plugin and its options."""

    plugin: str
    options: Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A target's ports and parameters, made once by ``bootstrap``.

    Attributes:
        endpoint: The public endpoint, as in the settings.
        target: Asks the public endpoint, and gives way to its users.
        urgent: Asks it without giving way: for incidents, while users are exposed.
        target_at: Makes a target that asks another endpoint and model (a staged release); ``""`` is the public model.
        sign: Signs a release that alignd itself has made or imported.
        server: Returns the serving software's version, empty where it doesn't say.
        calibration: Of the judge, against people; ``None`` where the settings give none.
        judge_check: Holds the judge against labelled replies every ``judge_check_hours``; ``None`` where it is not.
        served: Proves every ``served_seconds`` what servers hold; ``None`` where nobody does.
        tripwire: Looks at first tokens every ``tripwire_seconds``; ``None`` where nobody looks.
        checkpoint: Folder of the served checkpoint where the deployer has no release of it.
        last_known_good: Release id or folder to begin with; empty where there is none.
        gate_looks: What the gates ask of a candidate and of the last known good release beside their profiles.
        deployed_by: Plugin that changes what is served, by its name.
        rails: What keeps a remediation from going on by itself.
        releases: Release store; reports of repairs lie in ``reports`` below it, scratch of recipes in
            ``.work``.
    """

    name: str
    endpoint: str
    mode: Mode
    containment: Containment
    target: Target
    urgent: Target
    target_at: Callable[[str, str], Target]
    measure: Measure
    deployer: Deployer
    executor: Executor
    recipes: tuple[Recipe, ...]
    gates: Gates
    rates: Rates
    schedule: Schedule
    releases: Path
    checkpoint: Path | None
    last_known_good: str
    approval_hours: float
    sign: Callable[[Release], None] = no_signature
    server: Callable[[], Awaitable[str]] = no_version
    calibration: Calibration | None = None
    judge_check: JudgeCheck | None = None
    judge_check_hours: float = 24.0
    tripwire: TripwireCheck | None = None
    tripwire_seconds: float = 300.0
    served: ServedCheck | None = None
    served_seconds: float = 300.0
    gate_looks: GateLooks = field(default_factory=GateLooks)
    rails: Rails = field(default_factory=Rails)
    deployed_by: str = ""

    @property
    def steered(self) -> bool:
        """Whether alignd can change what is served."""
        return self.deployed_by != "external"

    @property
    def unrepairable(self) -> str:
        """Why an approved repair would come to nothing here, and which setting decides it; empty where it would not."""
        if not self.recipes:
            return "its settings name no recipes"
        if not self.steered and self.containment is not Containment.HOLD:
            return f"deployer {self.deployed_by} can't contain it, and containment is not hold"
        return ""

    async def state_within(self, seconds: float) -> DeploymentState:
        """Ask what is in service, for so long at most: a person waits for the answer.

        Raises:
            DeployerUnavailable: The serving side does not answer, or not in time.
        """
        try:
            return await asyncio.wait_for(self.deployer.state(), seconds)
        except TimeoutError:
            raise DeployerUnavailable(
                f"target {self.name}: the serving side did not answer within {seconds:g} s"
            ) from None

    async def aclose(self) -> None:
        """Close its connections."""
        if held := closing(self.deployer):
            await held.aclose()
        await self.target.aclose()
        await self.measure.aclose()
