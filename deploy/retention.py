"""Which releases stay in the store, and the removal of the rest. The choice is pure.

What is served, what a roll-back leads to and what a repair works on always stays, however old it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.checkpoint import Release, ReleaseKind
from deploy.durable import clear_scratch, held, remove_folder
from deploy.errors import CheckpointError
from deploy.signing import signature_of

__all__ = ["InUse", "kept", "remove_releases", "sweeping_store", "using_store"]

log = logging.getLogger("alignd")


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """What one target needs of the store, by release id.

    Attributes:
        active: What takes the traffic, or is to; ``""`` where nothing does.
        warm: What is up beside it, what a roll-back may lead to, and what the settings name.
        good: Releases marked good, the last known good one first.
        incidents: What open incidents name.
    """

    active: str = ""
    warm: tuple[str, ...] = ()
    good: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()


def kept(releases: Sequence[Release], uses: Iterable[InUse], *, keep: int) -> dict[str, str]:
    """Choose what stays.

    Args:
        releases: All of the store.
        uses: What each target that shares the store needs.
        keep: How many of the newest stay in any case.

    Returns:
        Release id to the first reason why it stays; ids that are not in it can go. Beside what targets use: the
        parents of active and last known good releases, and the base of every adapter that stays.
    """
    by_id = {r.id: r for r in releases}
    reasons: dict[str, str] = {}

    def stay(release: str, why: str) -> None:
        if release in by_id:
            reasons.setdefault(release, why)

    for use in uses:
        for release, why in _used(use, by_id):
            stay(release, why)
    newest = sorted(releases, key=lambda r: (r.manifest.created_at, r.id), reverse=True)
    for release_of in newest[:keep]:
        stay(release_of.id, f"one of the {keep} newest")
    to_see = list(reasons)
    while to_see:
        manifest = by_id[to_see.pop()].manifest
        if manifest.kind is ReleaseKind.ADAPTER and manifest.base in by_id.keys() - reasons.keys():
            reasons[manifest.base] = f"base of {manifest.name}@{manifest.digest[:12]}"
            to_see.append(manifest.base)
    return reasons


def _used(use: InUse, by_id: Mapping[str, Release]) -> Iterator[tuple[str, str]]:
    yield use.active, "active"
    yield from ((release, "open incident") for release in use.incidents)
    yield from zip(use.good[:2], ("last known good", "predecessor of the last known good"), strict=False)
    yield from ((release, "warm or named by the settings") for release in use.warm)
    for release in (use.active, *use.good[:1]):
        if release in by_id:
            yield by_id[release].manifest.parent, f"parent of {release}"


@contextmanager
def using_store(store: Path) -> Iterator[None]:
    """Keep releases from being removed while one is brought up, imported or measured.

    Raises:
        StoreInUse: Releases are being removed now.
    """
    with held(store, alone=False, what=f"release store {store}"):
        yield


@contextmanager
def sweeping_store(store: Path) -> Iterator[None]:
    """Take the store for a removal; what is chosen and removed inside can't be brought up meanwhile.

    Raises:
        StoreInUse: A release is being brought up, imported or measured.
    """
    with held(store, alone=True, what=f"release store {store}"):
        yield


def remove_releases(store: Path, releases: Iterable[str]) -> tuple[str, ...]:
    """Remove releases and their signatures, and what killed imports left. Each vanishes whole.

    Returns:
        What was removed: release ids and names of scratch.

    Raises:
        CheckpointError: One can't be removed; those before it are gone.
    """
    removed: list[str] = []
    signatures = signature_of(store, "").parent
    for release in releases:
        try:
            remove_folder(store / release)
        except OSError as error:
            raise CheckpointError(
                f"release {release}: can't be removed ({error.strerror}); mend the rights of {store}"
            ) from error
        log.info("release_removed", extra={"release": release})
        removed.append(release)
    for signature in signatures.glob("*.sig"):
        if not (store / signature.stem).is_dir():
            signature.unlink(missing_ok=True)
    return (*removed, *clear_scratch(signatures), *clear_scratch(store))
