"""Whether a GPU is here: ``python -m remediation.device cuda:1`` ends with 1 and the reason where it is not.

A module of its own, for who starts a run does not import torch.
"""

from __future__ import annotations

import sys

import torch

from remediation.errors import PatchFailed

__all__ = ["fault_here", "fault_of", "use"]


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


def fault_here(device: str) -> str:
    """Say why a device can't be used on this machine, empty where it can; ``cpu`` always can."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return "" if device == "cpu" else fault_of(device, gpus=gpus)


def use(device: str) -> None:
    """Load and compute there from now on, in this process.

    Raises:
        PatchFailed: It is not there.
    """
    if why := fault_here(device):
        raise PatchFailed(f"device {device} can't be used: {why}; give another, or cpu")
    torch.set_default_device(device)


if __name__ == "__main__":
    sys.exit(fault_here(sys.argv[1]) or None)
