"""In-memory deployer with scriptable faults, and the checks that every deployer must pass.

For the tests of this project and of plugins: a test makes its adapter and awaits the check of the port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from deploy.checkpoint import Release, verify_release
from deploy.deployer import UNKNOWN_RELEASE, Deployer, DeploymentState, ServedRelease
from deploy.errors import CheckpointError, DeployError, DeployerUnavailable, StageError
from deploy.offers import layering

__all__ = [
    "FakeAdapterDeployer", "FakeDeployer", "check_deployer", "check_layering_deployer", "check_watching_deployer",
]  # fmt: skip

_NOBODY = "unknown@000000000000"


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
        effects: What was changed, in order, as verb and release id; a call that changed nothing leaves none.
    """

    faults: Iterable[DeployError | None] = ()
    broken: frozenset[str] = frozenset()
    down: bool = False
    hook: Callable[[str], None] = _nothing
    up: dict[str, Release] = field(default_factory=dict)
    active: str = UNKNOWN_RELEASE
    effects: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the script."""
        self.faults = iter(self.faults)

    def serve(self, release: Release) -> None:
        """Put a release into service behind the port's back, as a person at the server would."""
        self.up[release.id] = release
        self.active = release.id

    async def state(self) -> DeploymentState:
        """Say what is up."""
        self._reach()
        return DeploymentState(active=self.active, up=tuple(self._served(r) for r in self.up))

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
            self.active = release.id
            self.effects.append(("promote", release.id))
        self.hook("promoted")
        return self._served(release.id)

    async def quarantine(self, why: str) -> None:
        """Give nobody an answer until the next promotion."""
        self._reach()
        self.hook("quarantine")
        if self.active:
            self.effects.append(("quarantine", self.active))
        self.active = UNKNOWN_RELEASE
        self.hook(f"quarantined: {why}")

    async def retire(self, release: str) -> None:
        """Stop a release that takes no traffic."""
        self._reach()
        self.hook("retire")
        if release and release == self.active:
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


async def check_deployer(deployer: Deployer, first: Release, second: Release, *, changed: Release) -> None:
    """Check a deployer: its state is what was asked for, repeats do no harm, and a refusal changes nothing.

    Leaves ``first`` in service.

    Args:
        deployer: One that answers; none of the releases is up.
        first: A release that can be served.
        second: Another one.
        changed: A release with a file that was changed after its import.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    up = {s.release for s in (await _read(deployer)).up} & {first.id, second.id, changed.id}
    _require(not up, f"{sorted(up)} must not be up before the check")
    await _keeps(deployer, partial(deployer.retire, _NOBODY), "retiring an unknown release")
    await _check_promoted(deployer, first)
    await _check_staged(deployer, second, active=first)
    await _keeps(deployer, partial(deployer.promote, first), "promoting the active release again")
    await _refuses(deployer, partial(deployer.retire, first.id), StageError, "retiring the active release")
    await _check_promoted(deployer, second, before=first)
    await _keeps(deployer, partial(deployer.stage, second), "staging the active release")
    await _refuses(deployer, partial(deployer.retire, second.id), StageError, "retiring the active release")
    await _refuses(deployer, partial(deployer.stage, changed), CheckpointError, "staging changed files")
    await _refuses(deployer, partial(deployer.promote, changed), CheckpointError, "promoting changed files")
    await _check_promoted(deployer, first, before=second)
    await deployer.retire(second.id)
    state = await _read(deployer)
    _require(state.find(second.id) is None, f"{second.id} is up although it was retired")
    _require(state.active == first.id, f"retiring {second.id} put {state.active!r} into service")
    await _keeps(deployer, partial(deployer.retire, second.id), "retiring a retired release")


async def check_layering_deployer(deployer: Deployer, *, other: Release) -> None:
    """Check a deployer of adapters: its base is up, stays up, and no other full checkpoint takes its place.

    Args:
        deployer: One that answers.
        other: A full checkpoint that is not its base.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    found = layering(deployer)
    if found is None:
        raise AssertionError("it does not say what its servers run")
    base, state = await found.base_of_adapters(), await _read(deployer)
    _require(state.find(base) is not None, f"its base {base} is not up")
    if state.active != base:
        await _keeps(deployer, partial(deployer.retire, base), "retiring the base under its adapters")
    await _refuses(deployer, partial(deployer.stage, other), StageError, "staging another full checkpoint")


async def check_watching_deployer(deployer: Deployer, release: Release) -> None:
    """Check a deployer of what is not ours to change: it says what is served and refuses the rest.

    Args:
        deployer: One that answers.
        release: A release that can be served; it isn't up.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    await _refuses(deployer, partial(deployer.stage, release), StageError, "staging a release")
    await _refuses(deployer, partial(deployer.promote, release), StageError, "promoting a release")
    await _keeps(deployer, partial(deployer.retire, _NOBODY), "retiring an unknown release")
    if active := (await deployer.state()).active:
        await _refuses(deployer, partial(deployer.retire, active), StageError, "retiring the active release")


async def _check_promoted(deployer: Deployer, release: Release, *, before: Release | None = None) -> None:
    served = await deployer.promote(release)
    state = await _read(deployer)
    _require(state.active == release.id, f"{release.id} was promoted, {state.active!r} is active")
    _require(state.find(release.id) == served, f"promote says {served}, state {state.find(release.id)}")
    if before:
        _require(state.find(before.id) is not None, f"{before.id} must stay up when {release.id} is promoted")
    await _keeps(deployer, partial(deployer.promote, release), "promoting the same release again")


async def _check_staged(deployer: Deployer, release: Release, *, active: Release) -> None:
    served = await deployer.stage(release)
    state = await _read(deployer)
    _require(state.active == active.id, f"staging {release.id} put {state.active!r} into service")
    _require(state.find(release.id) == served, f"stage says {served}, state {state.find(release.id)}")
    _require(await deployer.stage(release) == served, f"staging {release.id} again gives another server")
    await _keeps(deployer, partial(deployer.stage, release), "staging the same release again")


async def _keeps(deployer: Deployer, call: Callable[[], Awaitable[object]], what: str) -> None:
    before = await _read(deployer)
    try:
        await call()
    except DeployError as error:
        raise AssertionError(f"{what} is fine, not {error!r}") from error
    _require(_plain(await _read(deployer)) == _plain(before), f"{what} must change nothing")


async def _refuses(
    deployer: Deployer, call: Callable[[], Awaitable[object]], refusal: type[DeployError], what: str
) -> None:
    before = await _read(deployer)
    try:
        await call()
    except DeployError as error:
        _require(isinstance(error, refusal), f"{what} is a {refusal.__name__}, not {error!r}")
    else:
        raise AssertionError(f"{what} is refused with {refusal.__name__}, not done")
    _require(_plain(await _read(deployer)) == _plain(before), f"{what} must change nothing, for it is refused")


async def _read(deployer: Deployer) -> DeploymentState:
    """Read a state, which must not contradict itself."""
    state = await deployer.state()
    taking = [s.release for s in state.up if s.takes_traffic]
    _require(
        taking == ([state.active] if state.active else []), f"{state.active!r} is active, yet {taking} take traffic"
    )
    for values in ([s.release for s in state.up], [(s.endpoint, s.model) for s in state.up]):
        _require(len(values) == len(set(values)), f"two of {values} are the same")
    for served in state.up:
        url = served.endpoint
        _require(
            url.startswith(("http://", "https://")) and url.endswith("/v1"), f"{served.release}: {url!r} is no base URL"
        )
    return state


def _plain(state: DeploymentState) -> tuple[str, frozenset[ServedRelease]]:
    return state.active, frozenset(state.up)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
