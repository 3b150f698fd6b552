"""Whether a GPU is here: ``python -m remediation.reproduce.device cuda:1`` ends with 1 and the reason where it is not.

A module of its own, for who starts a run does not import torch.
"""

from __future__ import annotations

import sys

import torch

__all__ = ["fault_of"]


def fault_of(device: str, *, gpus: int) -> str:
    """Say why a device can't be used, empty where it can.

    Args:
        device: ``cuda``, ``cuda:N`` or ``auto``.
        gpus: How many there are.
    """
    if not gpus:
        return "there is no GPU here"
    if int(device.partition(":")[2] or 0) >= gpus:
        return f"the last GPU here is cuda:{gpus - 1}"
    return ""


if __name__ == "__main__":
    sys.exit(fault_of(sys.argv[1], gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0) or None)
