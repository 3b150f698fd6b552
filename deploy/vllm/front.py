"""Port: what stands before the servers and sends users' requests to one of them.

Only an ordinary user's routes pass a front; run-time LoRA, dev-mode and admin routes of vLLM never do. Bodies are
never logged.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol

from deploy.vllm.child import Child
from deploy.vllm.counts import Counts

__all__ = ["ALLOWED", "BODY_BYTES_MAX", "RETRY_AFTER_SECONDS", "Front"]

ALLOWED = MappingProxyType(
    {
        "/v1/chat/completions": "POST",
        "/v1/completions": "POST",
        "/v1/embeddings": "POST",
        "/v1/models": "GET",
        "/health": "GET",
        "/version": "GET",
    }
)
"""Paths that users may ask for, as they are written on the wire, and the method of each."""
BODY_BYTES_MAX = 16 << 20
"""Largest body of a request."""
RETRY_AFTER_SECONDS = 1
"""What an answer says that no release can answer now."""


class Front(Protocol):
    """Sends users' requests to one server, or answers 503 with ``Retry-After`` where there is none."""

    @property
    def serving(self) -> Child | None:
        """The server that new requests reach.

        Raises:
            DeployerUnavailable: The front can't be asked, so nobody knows.
        """
        ...

    @property
    def refused(self) -> Counts | None:
        """Requests that this process answered in a server's place; ``None`` where another process counts them."""
        ...

    async def switch(self, child: Child | None, *, why: str = "") -> None:
        """Send all new requests to this server; to none where it is ``None``. Requests in flight end where they began.

        Args:
            child: Server.
            why: What users are told where there is none and the front can say so.

        What was asked for last stays the aim after a failure too: ``serve`` goes on trying.

        Raises:
            DeployerUnavailable: The front does not answer, or not as it should; what it does now is unknown.
        """
        ...

    async def drain(self, child: Child, *, seconds: float) -> None:
        """Wait until no request is in flight at a server that gets no new ones, or the time is over."""
        ...

    async def serve(self, host: str, port: int) -> None:
        """Do the front's work until ``aclose``; one that lives in another process listens where its own settings say.

        Raises:
            StageError: The port is taken.
        """
        ...

    async def aclose(self) -> None:
        """Take no more requests, let those in flight end (bounded), and close connections to the servers."""
        ...
