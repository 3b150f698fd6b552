"""Deployer ``external``: a server that alignd watches and does not control.

Reading works; whatever would change what is served is refused with the way out. For mode ``observe``.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from deploy.checkpoint import Release
from deploy.deployer import UNKNOWN_RELEASE, DeploymentState, ServedRelease
from deploy.errors import StageError

__all__ = ["ExternalDeployer", "Options", "make"]


class Options(BaseModel):
    """What is known of the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(pattern=r"^https?://")
    """Base URL that ends in ``/v1``."""
    release: str = UNKNOWN_RELEASE
    """Name of what is served, if it is known."""


@dataclass(frozen=True, slots=True)
class ExternalDeployer:
    """Says what the settings say, and changes nothing."""

    options: Options

    async def state(self) -> DeploymentState:
        """Return the release of the settings; nothing where they name none."""
        name = self.options.release
        if not name:
            return DeploymentState(active=UNKNOWN_RELEASE, up=())
        served = ServedRelease(release=name, endpoint=self.options.endpoint, takes_traffic=True)
        return DeploymentState(active=name, up=(served,))

    async def stage(self, release: Release) -> ServedRelease:
        """Refuse.

        Raises:
            StageError: Always.
        """
        raise self._refusal(release.id)

    async def promote(self, release: Release) -> ServedRelease:
        """Refuse.

        Raises:
            StageError: Always.
        """
        raise self._refusal(release.id)

    async def retire(self, release: str) -> None:
        """Leave everything as it is: nothing was ever staged here.

        Raises:
            StageError: It is what the server serves.
        """
        if release and release == self.options.release:
            raise self._refusal(release)

    def _refusal(self, release: str) -> StageError:
        return StageError(
            f"release {release}: {self.options.endpoint} is not alignd's to change; serve it with `alignd serve` and "
            "set deployer: vllm-process, or put the release into service by hand"
        )


def make(options: Options) -> ExternalDeployer:
    """Make the deployer of its options."""
    return ExternalDeployer(options)
