"""The versions of vLLM that this was tested with: its plugin reaches into tables that no interface keeps stable."""

from __future__ import annotations

__all__ = ["TESTED", "tested"]

TESTED = ("0.32.0",)


def tested(version: str) -> bool:
    """Whether a version is one of them; a build's local part (``+cpu``) does not count."""
    return version.split("+", maxsplit=1)[0] in TESTED
