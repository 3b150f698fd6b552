"""Port: what steering needs of the server that it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Limits", "Server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server was started with.

    Attributes:
        lora_rank_max: ``--max-lora-rank``.
        loras_max: ``--max-loras``: adapters in one batch.
    """

    lora_rank_max: int
    loras_max: int


class Server(Protocol):
    """A server that loads adapters by name."""

    base: str
    """Name, and release id, of the model that it runs."""
    public: tuple[str, ...]
    """Names that users ask for."""
    version: str
    limits: Limits

    async def load(self, release: str, path: str) -> object:
        """Load an adapter and return what the table of names holds for it; it must not be in the table before.

        Raises:
            Refused: It can't be loaded; nothing of it is left in the table.
        """
        ...

    async def unload(self, release: str, adapter: object) -> None:
        """Give an adapter's memory back; nothing asks for it any more."""
        ...

    async def answer_one(self, release: str) -> None:
        """Answer one token as this release.

        Raises:
            Refused: It does not, or with no finite probability, or as another one.
        """
        ...

    def in_flight(self, release: str) -> int:
        """Count the requests that this adapter is answering."""
        ...
