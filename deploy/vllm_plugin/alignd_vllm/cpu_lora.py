"""A mend of vLLM's LoRA on a CPU: what is asked of the base is answered by the base.

In one batch with an adapter, vLLM 0.32 gives rows of the base the index -1, which its kernels for GPUs skip and those
for CPUs take for the last adapter (its pull requests 48421 and 49656): users of a base that a drifted adapter gave way
to would get that adapter's answers whenever anything is asked of an adapter.

vLLM loads this in each of its processes, as ``vllm.general_plugins``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from alignd_vllm.versions import TESTED, tested

__all__ = ["mend", "mended", "without_last"]

log = logging.getLogger("vllm.alignd")

_NAMES = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")
_MENDED = "_alignd_mended"

Kernel = Callable[..., Any]


def mend() -> None:
    """Put the mend into vLLM's tables of kernels, on a CPU; again does no harm.

    vLLM loads this in every server beside which it is installed: one of another version starts without the mend.
    """
    import vllm
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    if not tested(vllm.__version__):
        log.warning("alignd_lora_not_mended this is vLLM %s, the mend is for %s", vllm.__version__, ", ".join(TESTED))
        return
    from vllm.lora.ops import torch_ops
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    for name in _NAMES:
        kernel = getattr(lora_ops, name)
        if not mended(kernel):
            kernel = without_last(kernel)
        for module in (lora_ops, torch_ops, punica_cpu):
            setattr(module, name, kernel)


def mended(kernel: Kernel) -> bool:
    """Whether a kernel is one that this module made."""
    return hasattr(kernel, _MENDED)


def without_last(kernel: Kernel) -> Kernel:
    """Return a kernel that adds nothing to rows of index -1.

    Args:
        kernel: Takes inputs (rows, d), weights (adapters, …), the output, and each row's adapter.
    """

    @wraps(kernel)
    def run(inputs: Any, weights: Any, output: Any, indices: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        base = indices < 0
        if bool(base.any()):
            inputs, indices = inputs.masked_fill(base.unsqueeze(1), 0), indices.clamp(min=0)
        return kernel(inputs, weights, output, indices, *args, **more)

    setattr(run, _MENDED, True)
    return run
