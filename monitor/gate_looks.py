"""What the gates ask of a release beside its profile: attacks on sealed prompts, and further suites."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from probes.attack import Attack
from probes.behavior import Suite

__all__ = ["GateLooks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLooks:
    """What more is asked of a candidate; nothing by default.

    Attributes:
        attacks: Each asked on the site's own suite of harmful requests.
        suites: Each asked plainly.
        prompts: Sealed prompts of each look, the same for every release.
        benign_steps: Of harmless fine-tuning, after which the worker looks at the candidate.
    """

    attacks: tuple[Attack, ...] = ()
    suites: tuple[Suite, ...] = ()
    prompts: int = 32
    benign_steps: int = 0

    @property
    def key(self) -> str:
        """Digest of what is asked, empty where nothing is: looks of different keys are never compared."""
        if not self.attacks and not self.suites:
            return ""
        attacks = [[a.name, a.sha256] for a in self.attacks]
        what = [attacks, [[s.name, s.sha256] for s in self.suites], self.prompts]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
