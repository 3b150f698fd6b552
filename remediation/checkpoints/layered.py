"""Models that are an adapter on a checkpoint: a release of the store beside its base."""

from __future__ import annotations

from pathlib import Path

import torch

from deploy.adapter import base_of
from remediation.checkpoints.adapter import Adapter, read_adapter, rounded
from remediation.checkpoints.output import stored_dtype

__all__ = ["carried", "stacked"]


def carried(folder: Path) -> Adapter:
    """Return the adapter that a model carries on its base, rounded as servers round it; empty for a full checkpoint.

    Raises:
        CheckpointError: The base is not in the store, or the adapter is damaged.
    """
    base = base_of(folder)
    return rounded(_trimmed(read_adapter(folder)), stored_dtype(base.path)) if base else {}


def _trimmed(adapter: Adapter) -> Adapter:
    """Leave out the zeros that filled the room which a server has for a rank: a repair of a repair would keep them."""
    found: Adapter = {}
    for name, (a, b) in adapter.items():
        used = a.any(dim=1) & b.any(dim=0)  # (r,)
        if used.any():
            found[name] = (a[used], b[:, used])
    return found


def stacked(first: Adapter, second: Adapter) -> Adapter:
    """Return the adapter whose change is the sum of two: rows of A and columns of B one after the other.

    Exact; where both change a matrix its rank is the sum of theirs.
    """
    found: Adapter = {**first, **second}
    for name in first.keys() & second.keys():
        (a, b), (c, d) = first[name], second[name]
        found[name] = (torch.cat((a.to(c.dtype), c)), torch.cat((b.to(d.dtype), d), dim=1))
    return found
