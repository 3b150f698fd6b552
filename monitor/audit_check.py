"""Whether the daemon can make the audits that it is told to: before the first one is due."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from monitor.audits.running import Audits, suites_of
from monitor.errors import ConfigError

__all__ = ["check_audits"]


def check_audits(audits: Audits) -> None:
    """Look at the key that signs audits, and at the suites of each plan.

    Raises:
        ConfigError: One of them can't be used.
    """
    for plan in audits.rules.plans:
        for target in plan.targets or audits.sites:
            suites_of(audits.sites[target], plan.suites, where=f"audits.plans: {plan.name}: suites")
    if key := audits.rules.private_key:
        _check_key(key)


def _check_key(key: Path) -> None:
    """Read the key in a process of its own: the library that knows keys costs 10 MB, and the daemon does without."""
    command = [sys.executable, "-m", "monitor.audits.signing", str(key)]
    looked = subprocess.run(command, capture_output=True, text=True, check=False)
    if looked.returncode:
        raise ConfigError((looked.stderr.strip().splitlines() or [f"audits.private_key: {key} can't be used"])[-1])
