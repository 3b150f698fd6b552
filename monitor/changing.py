"""One change of what a target serves at a time, beside the daemon's own; and what a killed one left up is stopped."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.durable import held, write_whole
from deploy.errors import CheckpointError, DeployError
from deploy.retention import using_store
from monitor.effect import Step
from monitor.errors import OpenIncident
from monitor.site import Site
from monitor.store import Store

__all__ = [
    "changing", "named_by_incidents", "note_left", "note_staged", "require_no_incident", "retire_left", "stop_noted",
]  # fmt: skip

log = logging.getLogger("alignd")


@asynccontextmanager
async def changing(step: Step) -> AsyncIterator[None]:
    """Be the only one, beside the daemon, that changes what a target serves; retire what a killed one left.

    Raises:
        StoreInUse: Somebody else is.
    """
    site = step.site
    folder = site.releases / ".changes"
    await asyncio.to_thread(_touch, folder / f"{site.name}.lock")
    with held(folder / f"{site.name}.lock", alone=True, what=f"target {site.name}"), using_store(site.releases):
        if left := await stop_noted(step):
            log.warning("left_over_retired", extra={"target": site.name, "releases": left})
        yield


def named_by_incidents(store: Store, target: str) -> tuple[str, ...]:
    """Return the releases that a target's open incidents name: the daemon works with them."""
    return tuple(
        release
        for i in store.incidents(target=target, open_only=True)
        for release in (i.release, i.candidate, i.last_good, *(t.candidate for t in i.trials))
    )


async def retire_left(step: Step) -> None:
    """Stop what a killed deployment left up; where one is under way, or that can't be done now, the next one does."""
    if not await asyncio.to_thread(_noted, step.site):
        return
    try:
        async with changing(step):
            pass
    except DeployError as error:
        log.warning("left_over_not_retired", extra={"target": step.site.name, "why": str(error)})


def require_no_incident(store: Store, target: str) -> None:
    """Leave a target to the daemon while it repairs it.

    Raises:
        OpenIncident: It has an open incident.
    """
    if opened := store.incidents(target=target, open_only=True):
        incident = opened[0]
        raise OpenIncident(
            f"target {target} has open incident {incident.id} ({incident.state.value}); wait until it has ended, or "
            f"`alignd abort {incident.id}`"
        )


def note_staged(site: Site, releases: Iterable[str]) -> None:
    """Write down what is to be staged beside what is noted already, so that it can be stopped after a crash.

    Raises:
        CheckpointError: The store can't be written.
    """
    _note(site, {*releases, *_noted(site)})


def note_left(site: Site, release: str) -> None:
    """Take a release off the note: it was stopped.

    Raises:
        CheckpointError: The store can't be written.
    """
    if release in (noted := _noted(site)):
        _note(site, {*noted} - {release})


async def stop_noted(step: Step) -> list[str]:
    """Stop what was staged here and takes no traffic, unless the daemon works with it by now; return what was.

    Where that fails it costs memory, and the next one tries: the note stays.
    """
    site, stopped = step.site, []
    try:
        if noted := await asyncio.to_thread(_noted, site):
            busy = _worked_with(step.store, site.name)
            state = await site.deployer.state()
            wanted = state.quarantine.release if state.quarantine else state.active
            for release in {*noted} - busy - {wanted}:
                await site.deployer.retire(release)  # one that still comes up, too: it is waited for
                if state.find(release):
                    stopped.append(release)
            await asyncio.to_thread(_note, site, ())
    except DeployError as error:
        log.warning("not_retired", extra={"target": site.name, "why": str(error)})
    return stopped


def _worked_with(store: Store, target: str) -> set[str]:
    """Return the releases that a target's open incidents still need up: what an earlier recipe left is not."""
    return {
        release
        for i in store.incidents(target=target, open_only=True)
        for release in (i.release, i.candidate, i.last_good, i.trial.candidate if i.trial else "")
    }


def _touch(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise CheckpointError(f"{file}: can't be written ({error.strerror}); mend the folder's rights") from error


def _note(site: Site, releases: Iterable[str]) -> None:
    file = site.releases / ".changes" / f"{site.name}.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({"staged": sorted(releases)}))
    except OSError as error:
        raise CheckpointError(f"{site.releases}: can't be written ({error.strerror}); free disk") from error


def _noted(site: Site) -> tuple[str, ...]:
    try:
        said = json.loads((site.releases / ".changes" / f"{site.name}.json").read_text())["staged"]
        return tuple(str(release) for release in said)
    except (OSError, ValueError, KeyError, TypeError):
        return ()
