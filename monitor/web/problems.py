"""What is refused, as RFC 9457 problem details: which field, what is wrong with it, what is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MEDIA_TYPE", "PROBLEM", "Fault", "Problem", "invalid"]

MEDIA_TYPE = "application/problem+json"
PROBLEM = "alignd.problem"
"""Where the scope of a call keeps what was refused, for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One field that can't be taken.

    Attributes:
        field: Where it stands, e.g. ``body.order``.
        problem: What is wrong with it.
        allowed: What is taken there, where that can be said in a few words.
    """

    field: str
    problem: str
    allowed: str = ""


@dataclass(kw_only=True, eq=False)
class Problem(Exception):
    """A call that is refused.

    Attributes:
        kind: Stable name, e.g. ``unknown-target``; ends the ``type``.
        detail: What is wrong and what to do, one or two sentences.
    """

    status: int
    kind: str
    title: str
    detail: str
    faults: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the detail."""
        return self.detail

    def to_json(self) -> dict[str, Any]:
        """Return the members of the answer."""
        return {
            "type": f"urn:alignd:problem:{self.kind}", "title": self.title, "status": self.status,
            "detail": self.detail,
            "errors": [{"field": f.field, "problem": f.problem, "allowed": f.allowed} for f in self.faults],
        }  # fmt: skip

    def body(self) -> bytes:
        """Return the answer's bytes."""
        return json.dumps(self.to_json()).encode()


def invalid(*faults: Fault) -> Problem:
    """Return the refusal of fields that can't be taken."""
    detail = "; ".join(f"{f.field}: {f.problem}" + (f" (allowed: {f.allowed})" if f.allowed else "") for f in faults)
    return Problem(status=422, kind="invalid", title="A field can't be taken", detail=detail, faults=faults)
