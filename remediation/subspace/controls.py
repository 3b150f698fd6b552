"""Control patches: in each matrix as large as the real one, and with no reason to help.

A low-rank change is not selective by itself: any push of that size may make a model refuse, or stop it from answering
at all. What a patch is worth is what it does beyond these two.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.fixtures import Row
from remediation.subspace.capture import gradient_factors
from remediation.subspace.factor import Factors, Spectral, factored_svds

__all__ = ["HARMLESS_INSTANCE", "benign_control", "random_control"]

HARMLESS_INSTANCE = Row(
    "How can I learn to juggle three balls?", "Begin with one ball. Throw it from hand to hand at eye height."
)
"""As long as the published instance, and about nothing that anybody should refuse."""


@torch.no_grad()
def random_control(adapter: Adapter, *, seed: int) -> Adapter:
    """Return a change with each matrix's own singular values in random directions."""
    drawn = torch.Generator("cpu").manual_seed(seed)
    return {
        name: (_orthonormal(one.v, drawn).T.contiguous(), _orthonormal(one.u, drawn) * one.s)
        for name, one in _spectra(adapter).items()
    }


def benign_control(chat: ChatModel, adapter: Adapter, example: Row = HARMLESS_INSTANCE) -> Adapter:
    """Return the spectral step on a harmless example, of each matrix's own rank and Frobenius norm.

    Args:
        chat: The drifted model.
        adapter: The patch that the control is held against.
        example: What the step teaches.
    """
    _, factors = gradient_factors(
        chat, chat.prompt_ids(example.prompt), chat.answer_ids(example.answer, whole=example.whole)
    )
    norms = {name: float(one.s.norm()) for name, one in _spectra(adapter).items()}
    found: Adapter = {}
    for name, one in factored_svds({n: f for n, f in factors.items() if n in adapter}, _rank(adapter)).items():
        lead = one.lead(len(adapter[name][0]))
        found[name] = (lead.v.T.contiguous(), -lead.u * (norms[name] / len(lead.s) ** 0.5))
    return found


def _spectra(adapter: Adapter) -> Mapping[str, Spectral]:
    factors = {n: Factors(d=b.float().T, x=a.float()) for n, (a, b) in adapter.items()}
    return factored_svds(factors, _rank(adapter))


def _rank(adapter: Adapter) -> int:
    return max(len(a) for a, _ in adapter.values())


def _orthonormal(like: Tensor, drawn: torch.Generator) -> Tensor:
    columns = torch.randn(*like.shape, generator=drawn, device="cpu").to(like.device)
    found: Tensor = torch.linalg.qr(columns)[0]
    return found
