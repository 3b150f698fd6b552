"""What a server could not serve as an adapter, known before any server is touched."""

from __future__ import annotations

from deploy.checkpoint import Release, ReleaseKind
from deploy.vllm.replica import ReplicaState

__all__ = ["adapter_fault"]

_TESTED = ("0.32.",)
"""vLLM versions whose adapter routes this was tested with, by their beginning."""


def adapter_fault(release: Release, state: ReplicaState, *, rank: int) -> str:
    """Say why a server could not serve a release; ``""`` where nothing speaks against it."""
    manifest = release.manifest
    full = manifest.kind is ReleaseKind.MERGED
    faults = {
        f"runs vLLM {state.vllm}, adapters were tested with {', '.join(v + 'x' for v in _TESTED)}; install that":
            bool(state.vllm) and not state.vllm.startswith(_TESTED),
        f"is a full checkpoint, the server runs {state.base}; serve it with deployer vllm-process or vllm-reload":
            full and release.id != state.base,
        f"is an adapter for {manifest.base}, the server runs {state.base}; send one that was made for it":
            not full and manifest.base != state.base,
        f"has rank {rank}, the server takes up to {state.lora_rank_max}; start vLLM with --max-lora-rank {rank}":
            0 < state.lora_rank_max < rank,
        "vLLM was started with --max-loras 1; two releases need --max-loras 2 to answer side by side":
            not full and state.loras_max == 1,
    }  # fmt: skip
    return next((why for why, holds in faults.items() if holds), "")
