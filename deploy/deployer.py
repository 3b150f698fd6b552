"""Port: a way of serving releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deploy.checkpoint import Release

__all__ = ["UNKNOWN_RELEASE", "Deployer", "DeploymentState", "Quarantine", "ServedRelease"]

UNKNOWN_RELEASE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRelease:
    """A release that is up.

    Attributes:
        release: Release id (``name@digest12``).
        endpoint: OpenAI-compatible base URL (``…/v1``).
        takes_traffic: Whether users' requests go to it.
        model: Model name to ask for at the endpoint; ``""``: the public name. Endpoint and model together reach this
            release and no other.
        also_at: Base URLs of further servers that have it, where several serve as one.
    """

    release: str
    endpoint: str
    takes_traffic: bool
    model: str = ""
    also_at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Users are kept from a target.

    Attributes:
        why: What they are told.
        release: The one that they get once it is lifted, ``""`` where there is none.
    """

    why: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """What is up now.

    Attributes:
        active: Id of the release that takes traffic, ``""`` if none does.
        quarantine: Why nobody gets an answer, ``None`` where users are served.
    """

    active: str
    up: tuple[ServedRelease, ...]
    quarantine: Quarantine | None = None

    def find(self, release: str) -> ServedRelease | None:
        """Return the entry of this release, if it is up."""
        return next((s for s in self.up if s.release == release), None)


class Deployer(Protocol):
    """Changes what is served. Every verb is idempotent: repeating it after a crash does no harm."""

    async def state(self) -> DeploymentState:
        """Read what is served now.

        Raises:
            DeployerUnavailable: The serving side does not answer.
        """
        ...

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a release up without traffic; returns at once if it is up already.

        Raises:
            CheckpointError: The release's files are not what its manifest says.
            StageError: It did not come up.
            DeployerUnavailable: The serving side does not answer.
        """
        ...

    async def promote(self, release: Release) -> ServedRelease:
        """Give a release all new traffic; the one before stays up (warm) for roll-back.

        Stages it first where it is not up. Requests in flight end where they began.
        """
        ...

    async def retire(self, release: str) -> None:
        """Drain and stop a release that takes no traffic. Unknown ids are fine.

        Raises:
            StageError: It takes traffic.
        """
        ...
