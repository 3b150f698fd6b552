"""A deployer that takes signed releases only, before whatever deployer serves them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from deploy.checkpoint import Release, read_release
from deploy.deployer import Deployer, DeploymentState, ServedRelease
from deploy.offers import (
    Closing,
    Layering,
    Quarantining,
    Ranked,
    Reasserting,
    Renewing,
    Reversible,
    closing,
    layering,
    quarantining,
    ranked,
    reasserting,
    renewing,
    reversible,
)
from deploy.signing import verify_signature

__all__ = ["SignedDeployer"]


@dataclass(frozen=True, slots=True)
class SignedDeployer:
    """Looks at a release's signature before it is brought up, promoted or put back.

    A roll-back by record is the serving side's own, which looks with ``alignd serve --public-key``.
    """

    inner: Deployer
    public_key: Path

    async def state(self) -> DeploymentState:
        """Read what is served now."""
        return await self.inner.state()

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a signed release up without traffic.

        Raises:
            SignatureError: It is not signed with the key that is trusted.
        """
        await asyncio.to_thread(verify_signature, release, self.public_key)
        return await self.inner.stage(release)

    async def promote(self, release: Release) -> ServedRelease:
        """Give a signed release all new traffic.

        Raises:
            SignatureError: It is not signed with the key that is trusted.
        """
        await asyncio.to_thread(verify_signature, release, self.public_key)
        return await self.inner.promote(release)

    async def retire(self, release: str) -> None:
        """Drain and stop a release that takes no traffic."""
        await self.inner.retire(release)

    def reversible(self) -> Reversible | None:
        """Return what goes back by a record, if the wrapped one does."""
        return reversible(self.inner)

    def reasserting(self) -> Reasserting | None:
        """Return what brings a signed release back, if the wrapped one does."""
        found = reasserting(self.inner)
        return _SignedReasserting(found, self.public_key) if found else None

    def renewing(self) -> Renewing | None:
        """Return what serves a signed release afresh, if the wrapped one does."""
        found = renewing(self.inner)
        return _SignedRenewing(found, self.public_key) if found else None

    def quarantining(self) -> Quarantining | None:
        """Return what keeps users from a target, if the wrapped one does."""
        return quarantining(self.inner)

    def ranked(self) -> Ranked | None:
        """Return what says the highest rank, if the wrapped one does."""
        return ranked(self.inner)

    def layering(self) -> Layering | None:
        """Return what serves adapters alone, if the wrapped one does."""
        return layering(self.inner)

    def closing(self) -> Closing | None:
        """Return what has to be closed, if the wrapped one has."""
        return closing(self.inner)


@dataclass(frozen=True, slots=True)
class _SignedReasserting:
    """What is wanted was signed when it was promoted; who can write down another wish must sign it, too."""

    inner: Reasserting
    public_key: Path

    async def wanted(self) -> Path | None:
        return await self.inner.wanted()

    async def lost(self) -> tuple[str, ...]:
        return await self.inner.lost()

    async def reassert(self) -> tuple[str, ...]:
        if (folder := await self.inner.wanted()) and await self.inner.lost():
            await asyncio.to_thread(verify_signature, read_release(folder), self.public_key)
        return await self.inner.reassert()


@dataclass(frozen=True, slots=True)
class _SignedRenewing:
    """A new server reads the files again, so that they are looked at again."""

    inner: Renewing
    public_key: Path

    async def renew(self, release: Release) -> ServedRelease:
        await asyncio.to_thread(verify_signature, release, self.public_key)
        return await self.inner.renew(release)
