"""A deployer that takes signed releases only, before whatever deployer serves them; and what some can do beside."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from deploy.checkpoint import Release
from deploy.deployer import Deployer, DeploymentState, Lost, ServedRelease
from deploy.record import PromotionRecord
from deploy.signing import verify_signature

__all__ = ["Desiring", "Reversible", "SignedDeployer", "lost_by", "reversible"]


@runtime_checkable
class Reversible(Protocol):
    """A deployer whose serving side remembers what it served before."""

    async def record(self) -> PromotionRecord:
        """Read what is to be served, and what was served before.

        Raises:
            DeployerUnavailable: The serving side does not answer.
        """
        ...

    async def roll_back(self) -> ServedRelease:
        """Give the traffic back to the nearest earlier release that comes up.

        Raises:
            StageError: There is none.
            DeployerUnavailable: The serving side does not answer.
        """
        ...


@runtime_checkable
class Desiring(Protocol):
    """A deployer that itself keeps what is wanted, for servers that come back without it."""

    async def lost(self) -> Lost | None:
        """Say which servers do not serve what is wanted; to promote it brings them back.

        Raises:
            StageError: What is wanted can't be read.
            DeployerUnavailable: The serving side does not answer.
        """
        ...


def reversible(deployer: Deployer) -> Reversible | None:
    """Return the deployer where its serving side keeps a record; a roll-back goes to what passed once already."""
    inner = _inner(deployer)
    return inner if isinstance(inner, Reversible) else None


async def lost_by(deployer: Deployer) -> Lost | None:
    """Say which servers do not serve what is wanted, where the deployer is the one who knows.

    Raises:
        As ``Desiring.lost``.
    """
    inner = _inner(deployer)
    return await inner.lost() if isinstance(inner, Desiring) else None


def _inner(deployer: Deployer) -> Deployer:
    return deployer.inner if isinstance(deployer, SignedDeployer) else deployer


@dataclass(frozen=True, slots=True)
class SignedDeployer:
    """Looks at a release's signature before it is brought up or promoted."""

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
