"""What some deployers offer beside their port, and how it is found, in a wrapper too.

Ask these functions, never a deployer itself: a wrapper has only what the wrapped one has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from deploy.checkpoint import Release
from deploy.deployer import Deployer, ServedRelease
from deploy.record import PromotionRecord

__all__ = [
    "Closing",
    "Layering",
    "Quarantining",
    "Ranked",
    "Reasserting",
    "Renewing",
    "Reversible",
    "Wrapper",
    "closing",
    "layering",
    "quarantining",
    "ranked",
    "reasserting",
    "renewing",
    "reversible",
]


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
class Reasserting(Protocol):
    """A deployer that knows what is wanted, whose servers may come back without it."""

    async def wanted(self) -> Path | None:
        """Return the folder of the release that is to take traffic; its name is the release's id.

        Raises:
            StageError: What is wanted can't be read.
        """
        ...

    async def lost(self) -> tuple[str, ...]:
        """Return the addresses of servers that lost what is wanted. Reading changes nothing.

        What was changed on every server alike, with what is wanted still at hand there, was a person's will.

        Raises:
            DeployerUnavailable: A server does not answer.
        """
        ...

    async def reassert(self) -> tuple[str, ...]:
        """Give what is wanted back to servers that lost it; again does no harm.

        Returns:
            Their addresses.

        Raises:
            CheckpointError: What is wanted is not in the store, not whole, or not signed where it must be.
            StageError: A server does not take it.
            DeployerUnavailable: A server does not answer.
        """
        ...


@runtime_checkable
class Renewing(Protocol):
    """A deployer that can serve a release afresh where putting it into service again would change nothing."""

    async def renew(self, release: Release) -> ServedRelease:
        """Start the server of the release that takes traffic afresh and lead users over, without losing a request.

        The server before serves until the new one answers as this release; then it ends its requests and is stopped.
        Again does no harm: who asks while it is under way waits for its end.

        Raises:
            CheckpointError: The release's files are not what its manifest says, or not signed where they must be.
            StageError: It takes no traffic, or its new server did not come up; the one before goes on, if memory
                is for more than one.
            DeployerUnavailable: The serving side does not answer.
        """
        ...


@runtime_checkable
class Quarantining(Protocol):
    """A deployer that can keep users from a target: what stands before the servers answers 503."""

    async def quarantine(self, why: str) -> None:
        """Answer nobody until the next promotion; requests in flight end where they began. Again does no harm.

        What is up stays up and answers at its own endpoint, so that it can be measured and repaired.

        Args:
            why: What users are told, where the front can say so.

        Raises:
            DeployerUnavailable: The serving side does not answer, or did not do it yet.
        """
        ...

    async def lift(self) -> None:
        """Give users the release again that they had before, where they are kept out. Again does no harm.

        A promotion in between has ended the quarantine, and is not undone.

        Raises:
            DeployerUnavailable: The serving side does not answer, or did not do it yet.
        """
        ...


@runtime_checkable
class Layering(Protocol):
    """A deployer whose servers keep one full checkpoint loaded and take adapters on it, and nothing else."""

    async def base_of_adapters(self) -> str:
        """Return the id of the release that every server keeps loaded.

        Raises:
            DeployerUnavailable: A server does not answer, or they run different ones.
        """
        ...


@runtime_checkable
class Ranked(Protocol):
    """A deployer whose servers take adapters up to a rank."""

    async def rank_max(self) -> int:
        """Return the highest rank that every server takes; 0 where they do not say.

        Raises:
            DeployerUnavailable: A server does not answer.
        """
        ...


@runtime_checkable
class Closing(Protocol):
    """A deployer that holds processes or connections."""

    async def aclose(self) -> None:
        """Let go of them."""
        ...


@runtime_checkable
class Wrapper(Protocol):
    """A deployer around another one. It says what it offers, for which it asks the wrapped one."""

    def reversible(self) -> Reversible | None:
        """Return what goes back by a record, if the wrapped one does."""
        ...

    def reasserting(self) -> Reasserting | None:
        """Return what brings back what is wanted, if the wrapped one does."""
        ...

    def renewing(self) -> Renewing | None:
        """Return what serves a release afresh, if the wrapped one does."""
        ...

    def quarantining(self) -> Quarantining | None:
        """Return what keeps users from a target, if the wrapped one does."""
        ...

    def layering(self) -> Layering | None:
        """Return what serves adapters alone, if the wrapped one does."""
        ...

    def ranked(self) -> Ranked | None:
        """Return what says the highest rank, if the wrapped one does."""
        ...

    def closing(self) -> Closing | None:
        """Return what has to be closed, if the wrapped one has."""
        ...


def reversible(deployer: Deployer) -> Reversible | None:
    """Return the deployer where its serving side keeps a record; a roll-back goes to what passed once already."""
    if isinstance(deployer, Wrapper):
        return deployer.reversible()
    return deployer if isinstance(deployer, Reversible) else None


def reasserting(deployer: Deployer) -> Reasserting | None:
    """Return the deployer where servers can come back without what is wanted."""
    if isinstance(deployer, Wrapper):
        return deployer.reasserting()
    return deployer if isinstance(deployer, Reasserting) else None


def renewing(deployer: Deployer) -> Renewing | None:
    """Return the deployer where it can start the server of a release afresh."""
    if isinstance(deployer, Wrapper):
        return deployer.renewing()
    return deployer if isinstance(deployer, Renewing) else None


def quarantining(deployer: Deployer) -> Quarantining | None:
    """Return the deployer where it can keep users from a target."""
    if isinstance(deployer, Wrapper):
        return deployer.quarantining()
    return deployer if isinstance(deployer, Quarantining) else None


def layering(deployer: Deployer) -> Layering | None:
    """Return the deployer where a release has to be an adapter on what its servers run, or that base itself."""
    if isinstance(deployer, Wrapper):
        return deployer.layering()
    return deployer if isinstance(deployer, Layering) else None


def ranked(deployer: Deployer) -> Ranked | None:
    """Return the deployer where its servers take adapters up to a rank."""
    if isinstance(deployer, Wrapper):
        return deployer.ranked()
    return deployer if isinstance(deployer, Ranked) else None


def closing(deployer: Deployer) -> Closing | None:
    """Return the deployer where it has to be closed."""
    if isinstance(deployer, Wrapper):
        return deployer.closing()
    return deployer if isinstance(deployer, Closing) else None
