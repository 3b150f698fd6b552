"""Port: a served model that can be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from probes.probe import Probe, ProbeId

__all__ = ["Completion", "Load", "Target", "Versioned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a target answered. The text is left out of ``repr``, so that no log gets it by accident.

    Attributes:
        finish_reason: ``stop``, ``length`` (cut, judged as it is and flagged) or the server's word.
        release: The release that answered, as the response itself says (fingerprint), else ``""``.
        completion_tokens: As the server counts them; 0 where it does not say.
        latency_seconds: From sending the request to the last byte.
        prompt_tokens: As the server counts them; 0 where it does not say.
        first_token: The first token's alternatives with their log-probabilities, likeliest first; empty where
            ``Sampling.top_logprobs`` asked for none or the server gives none.
    """

    probe: ProbeId
    text: str = field(repr=False)
    finish_reason: str
    model: str
    release: str
    completion_tokens: int
    latency_seconds: float
    prompt_tokens: int = 0
    first_token: tuple[tuple[str, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy a server says it is.

    Attributes:
        running: Requests that are being answered, the prober's own among them.
        waiting: Requests in its queue.
        kv_cache_ratio: Share of its KV cache in use, in [0, 1].
        ttft_seconds: Mean time to first token since the last look; ``None`` where no request began since.
        finished: Requests that ended since the server began; ``None`` where it does not say.
    """

    running: int
    waiting: int
    kv_cache_ratio: float
    ttft_seconds: float | None
    finished: int | None = None


@runtime_checkable
class Versioned(Protocol):
    """A target that says what it is served with."""

    async def version(self) -> str:
        """Return the serving software's version, empty where it doesn't say. Never raises for a server's fault."""
        ...


class Target(Protocol):
    """A served model."""

    @property
    def name(self) -> str:
        """The target's name in settings, metrics and incidents."""
        ...

    async def complete(self, probe: Probe) -> Completion:
        """Ask once.

        Raises:
            RetryableTargetError: It may pass when asked again.
            PermanentTargetError: It will not.
        """
        ...

    async def ready(self) -> str:
        """Prove that the expected model answers by a one-token completion.

        Returns:
            The release that answered (fingerprint), or ``""`` where the server does not say.

        Raises:
            TargetError: It doesn't; the message says why and what to do.
        """
        ...

    async def load(self) -> Load | None:
        """Look how busy the server is; ``None`` where it doesn't say. Never raises for a server's fault."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
