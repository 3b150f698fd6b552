"""The one program: watches targets, decides, and runs the remediation."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
