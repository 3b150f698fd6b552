"""Port: what a public model name means, where a gateway in front of the servers decides it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Steer"]


class Steer(Protocol):
    """Points a gateway's public name at a model name of the servers behind it."""

    async def aimed(self) -> str:
        """Return the model name that new requests go to; ``""`` where none or more than one does.

        Raises:
            DeployerUnavailable: The gateway does not answer.
        """
        ...

    async def aim(self, model: str) -> None:
        """Send all new requests to this model name; again does no harm. When it returns, ``aimed`` says so.

        Raises:
            StageError: The gateway does not take it.
            DeployerUnavailable: The gateway does not answer.
        """
        ...
