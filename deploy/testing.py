"""In-memory deployer with scriptable faults, and the checks that every deployer must pass.

For the tests of this project and of plugins: a test makes its adapter and awaits the check of the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from deploy.checkpoint import Release, verify_release
from deploy.deployer import UNKNOWN_RELEASE, DeploymentState, Quarantine, ServedRelease
from deploy.deployer_testing import (
    check_deployer,
    check_layering_deployer,
    check_quarantining_deployer,
    check_watching_deployer,
)
from deploy.errors import DeployError, DeployerUnavailable, StageError

__all__ = [
    "FakeAdapterDeployer", "FakeDeployer", "check_deployer", "check_layering_deployer", "check_quarantining_deployer",
    "check_watching_deployer",
]  # fmt: skip


def _nothing(_: str) -> None:
    return None


@dataclass(slots=True, kw_only=True)
class FakeDeployer:
    """Serves in memory; the files of a release are read before it comes up.

    Attributes:
        faults: What happens to the next calls, in order, reading the state included: an error is raised, ``None``
            and the end of the faults let a call through.
        broken: Names of releases that don't come up.
        down: Whether the serving side can't be reached at all.
        hook: Called with a verb before it is done and with its past form after it (``stage``, ``staged``). What it
            raises passes through, as a crash at that moment would.
        up: The releases that are up, by id.
        active: Id of the one that takes traffic, ``""`` if none does.
        quarantined: Why users are kept out, and what they had before; ``None`` where they are served.
        effects: What was changed, in order, as verb and release id; a call that changed nothing leaves none.
    """

    faults: Iterable[DeployError | None] = ()
    broken: frozenset[str] = frozenset()
    down: bool = False
    hook: Callable[[str], None] = _nothing
    up: dict[str, Release] = field(default_factory=dict)
    active: str = UNKNOWN_RELEASE
    quarantined: Quarantine | None = None
    effects: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the script."""
        self.faults = iter(self.faults)

    def serve(self, release: Release) -> None:
        """Put a release into service behind the port's back, as a person at the server would."""
        self.up[release.id] = release
        self.active, self.quarantined = release.id, None

    async def state(self) -> DeploymentState:
        """Say what is up."""
        self._reach()
        up = tuple(self._served(r) for r in self.up)
        return DeploymentState(active=self.active, up=up, quarantine=self.quarantined)

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a release up without traffic."""
        self._reach()
        self.hook("stage")
        self._bring_up(release)
        self.hook("staged")
        return self._served(release.id)

    async def promote(self, release: Release) -> ServedRelease:
        """Give a release all new traffic."""
        self._reach()
        self.hook("promote")
        self._bring_up(release)
        if self.active != release.id:
            self.active, self.quarantined = release.id, None
            self.effects.append(("promote", release.id))
        self.hook("promoted")
        return self._served(release.id)

    async def quarantine(self, why: str) -> None:
        """Give nobody an answer until the next promotion."""
        self._reach()
        self.hook("quarantine")
        if self.quarantined is None:
            self.effects.append(("quarantine", self.active))
        self.quarantined = Quarantine(why=why, release=self.quarantined.release if self.quarantined else self.active)
        self.active = UNKNOWN_RELEASE
        self.hook(f"quarantined: {why}")

    async def lift(self) -> None:
        """Give users the release again that they had before."""
        self._reach()
        self.hook("lift")
        if self.quarantined:
            self.active, self.quarantined = self.quarantined.release, None
            self.effects.append(("lift", self.active))
        self.hook("lifted")

    async def retire(self, release: str) -> None:
        """Stop a release that takes no traffic."""
        self._reach()
        self.hook("retire")
        if release and release in {self.active, self.quarantined.release if self.quarantined else ""}:
            raise StageError(f"release {release} takes traffic; promote another one first")
        if self.up.pop(release, None):
            self.effects.append(("retire", release))
        self.hook("retired")

    def _bring_up(self, release: Release) -> None:
        if release.id in self.up:
            return
        verify_release(release)
        if release.manifest.name in self.broken:
            raise StageError(f"release {release.id} did not come up")
        self.up[release.id] = release
        self.effects.append(("stage", release.id))

    def _served(self, release: str) -> ServedRelease:
        active = release == self.active
        return ServedRelease(release=release, endpoint=f"http://fake/{release}/v1", takes_traffic=active)

    def _reach(self) -> None:
        if self.down:
            raise DeployerUnavailable("the serving side does not answer")
        fault = next(iter(self.faults), None)
        if fault is not None:
            raise fault


@dataclass(kw_only=True)
class FakeAdapterDeployer(FakeDeployer):
    """Serves adapters in memory, on a base that stays loaded and is in service first.

    Attributes:
        on: The base.
        widest: Highest rank that it takes; 0 for any.
    """

    on: Release
    widest: int = 0

    def __post_init__(self) -> None:
        """Begin on the base."""
        super().__post_init__()
        self.serve(self.on)

    async def base_of_adapters(self) -> str:
        """Say what the servers run."""
        self._reach()
        return self.on.id

    async def rank_max(self) -> int:
        """Say up to which rank adapters may be."""
        self._reach()
        return self.widest

    async def retire(self, release: str) -> None:
        """Unload an adapter; the base stays, adapters stand on it."""
        if release != self.on.id or release == self.active:
            await super().retire(release)

    def _bring_up(self, release: Release) -> None:
        if self.on.id not in {release.id, release.manifest.base}:
            raise StageError(f"release {release.id} is neither {self.on.id} nor an adapter on it")
        super()._bring_up(release)
