"""The checks that every deployer must pass; ``deploy.testing`` offers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from deploy.checkpoint import Release
from deploy.deployer import Deployer, DeploymentState, Quarantine, ServedRelease
from deploy.errors import CheckpointError, DeployError, StageError
from deploy.offers import layering, quarantining

__all__ = ["check_deployer", "check_layering_deployer", "check_quarantining_deployer", "check_watching_deployer"]

_NOBODY = "unknown@000000000000"


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


async def check_quarantining_deployer(deployer: Deployer, first: Release, second: Release) -> None:
    """Check a deployer that can keep users out: they are until it is lifted or a release is promoted.

    Leaves ``second`` in service.

    Args:
        deployer: One that answers.
        first: A release that can be served.
        second: Another one.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    found = quarantining(deployer)
    if found is None:
        raise AssertionError("it can't keep users out")
    await deployer.promote(first)
    await _keeps(deployer, found.lift, "lifting where nothing is quarantined")
    for end in (found.lift, partial(deployer.promote, second)):
        await found.quarantine("out of service: a check")
        state = await _read(deployer)
        _require(state.active == "", f"{state.active!r} takes traffic in quarantine")
        _require(state.find(first.id) is not None, f"{first.id} must stay up in quarantine")
        wanted = Quarantine(why="out of service: a check", release=first.id)
        _require(state.quarantine == wanted, f"its state says {state.quarantine}, not {wanted}")
        await _keeps(deployer, partial(found.quarantine, wanted.why), "a second quarantine")
        await _refuses(deployer, partial(deployer.retire, first.id), StageError, "retiring what a lift leads back to")
        await end()
        state = await _read(deployer)
        _require(state.quarantine is None, "it is in quarantine still")
        _require(state.active == (first if end == found.lift else second).id, f"{state.active!r} takes the traffic")
        await _keeps(deployer, found.lift, "lifting what has ended")


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


def _plain(state: DeploymentState) -> tuple[str, Quarantine | None, frozenset[ServedRelease]]:
    return state.active, state.quarantine, frozenset(state.up)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
