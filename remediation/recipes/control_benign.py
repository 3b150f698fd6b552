"""Recipe ``benign``: a control, see ``control``."""

from __future__ import annotations

from remediation.recipes.control import Control, Options

__all__ = ["CONTROL", "Options", "make"]

CONTROL = True
"""No rung of a ladder."""


def make(options: Options) -> Control:
    """Make the control of its options."""
    return Control(options, "benign")
