"""A change that acts without being in the weights: y = W x + B (A x), as a served adapter does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.modules import Targets, matrices, tapped
from remediation.errors import PatchFailed

__all__ = ["applied"]


@contextmanager
def applied(chat: ChatModel, adapter: Adapter, scale: float = 1.0) -> Iterator[None]:
    """Let the model act as if ``scale`` times the change were in its weights, while inside.

    No weight is touched or copied, so it works on quantised and offloaded ones, and nothing is rounded. Gradients flow
    through it; factors captured inside are those of the changed weights.

    Raises:
        PatchFailed: The model has no such matrix, or one of another shape.
    """
    if not adapter:
        yield
        return
    known = matrices(chat.model, Targets(head=True, routers=True))
    for name, (a, b) in adapter.items():
        if name not in known:
            raise PatchFailed(f"the model has no matrix {name}; the change was made for another model")
        if known[name].shape != (b.shape[0], a.shape[1]):
            raise PatchFailed(f"the change of {name} is {b.shape[0]} by {a.shape[1]}, its weight {known[name].shape}")
    cast: dict[str, tuple[Tensor, Tensor]] = {}

    def tap(name: str, x: Tensor, out: Tensor, _: Tensor | None) -> Tensor:
        if name not in cast:
            a, b = adapter[name]
            cast[name] = (a.to(x.device, x.dtype), (scale * b).to(x.device, x.dtype))
        a, b = cast[name]
        return out + ((x @ a.T) @ b.T).to(out.dtype)

    with tapped({n: known[n] for n in adapter}, tap):
        yield
