"""A gateway's alias in memory, and the check that every one must pass."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.errors import DeployerUnavailable
from deploy.steer import Steer

__all__ = ["FakeSteer", "check_steer"]


@dataclass(slots=True)
class FakeSteer:
    """A gateway's alias in memory."""

    model: str = ""
    down: bool = False

    async def aimed(self) -> str:
        """Say where requests go."""
        self._reach()
        return self.model

    async def aim(self, model: str) -> None:
        """Send them elsewhere."""
        self._reach()
        self.model = model

    def _reach(self) -> None:
        if self.down:
            raise DeployerUnavailable("the gateway does not answer")


async def check_steer(steer: Steer, first: str, second: str) -> None:
    """Check a gateway's alias: it says what it was told, and being told again does no harm.

    Leaves it at ``first``.

    Args:
        first: A model name that the gateway knows.
        second: Another one.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    for model in (first, second, second, first):
        await steer.aim(model)
        if (aimed := await steer.aimed()) != model:
            raise AssertionError(f"it was aimed at {model!r} and says {aimed!r}")
