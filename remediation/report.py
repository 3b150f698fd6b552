"""The written report of one patch, as JSON and as a self-contained page: what was asked, made, measured and decided.

It holds figures, names and digests; no prompt, no answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape

from deploy.durable import write_whole
from probes.profile import ReleaseProfile
from remediation.patch import Patch
from remediation.report_svg import bar_of, curves_svg, series_of, spectrum_svg

__all__ = ["FORMAT", "PatchReport", "Provenance", "page_of", "plain_of", "write_report"]

FORMAT = "alignd-patch-report/1"
"""Named in the JSON; raised when a key changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a patch comes from; empty texts where a part is not known.

    Attributes:
        incident: Incident that asked for it.
        target: Deployment that it is for.
        recipe: Name of the recipe; empty for a release that none made.
        options: The recipe's options as asked.
        seed: Seed of everything random in the recipe.
        drifted: Release, or folder, that was repaired: the parent.
        drifted_digest: SHA-256 of its content, as its manifest has it.
        reference: Last known good release or folder.
        candidate: Release that the patch became.
        candidate_digest: As ``drifted_digest``.
        made_with: Version of the program.
    """

    recipe: str
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    seed: int = 0
    incident: str = ""
    target: str = ""
    drifted: str = ""
    drifted_digest: str = ""
    reference: str = ""
    candidate: str = ""
    candidate_digest: str = ""
    made_with: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchReport:
    """All that a report says.

    Attributes:
        patch: What the recipe handed back, ``None`` where it gave no patch.
        verification: ``Verification.to_json``, ``None`` where the patch was not held against the gates.
        profiles: Measured releases by role: ``reference``, ``drifted``, ``candidate``; those that there are.
        why: Why it ended there, empty where it was accepted.
    """

    provenance: Provenance
    patch: Patch | None
    verification: Mapping[str, Any] | None
    profiles: Mapping[str, ReleaseProfile]
    why: str
    written_at: datetime

    @property
    def outcome(self) -> str:
        """What came of it, in words."""
        if self.patch is None and (self.verification is None or self.provenance.recipe):
            return "no patch" if self.provenance.recipe else "not staged"
        if self.verification is None:
            return "not staged" if self.why else "not verified"
        return "accepted" if self.verification["accepted"] and not self.why else "rejected"


def plain_of(report: PatchReport) -> dict[str, Any]:
    """Return the report in plain values that JSON holds; a figure that is no number is null."""
    patch = asdict(report.patch) if report.patch else None
    if patch and report.outcome == "not staged":
        del patch["checkpoint"]  # it was removed
    plain = {
        "format": FORMAT, "outcome": report.outcome, "why": report.why, "written_at": report.written_at,
        "provenance": asdict(report.provenance), "verification": report.verification, "patch": patch,
        "profiles": {role: p.to_json() for role, p in report.profiles.items()},
    }  # fmt: skip
    found: dict[str, Any] = _finite(json.loads(json.dumps(plain, default=str)))
    return found


def page_of(report: PatchReport) -> str:
    """Lay out a self-contained page for light and dark; every name and text in it is escaped."""
    environment = Environment(
        autoescape=select_autoescape(default=True), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    environment.globals["bar_of"] = bar_of
    text = files("remediation").joinpath("report.html.j2").read_text(encoding="utf-8")
    plain = plain_of(report)
    figures = (plain["patch"] or {}).get("figures", {})
    doses, steps = series_of(figures, "_at_dose_"), series_of(figures, "_after_benign_steps_")
    return environment.from_string(text).render(
        report=plain, gates=(plain["verification"] or {}).get("gates", []), patch=plain["patch"],
        spectrum=spectrum_svg(report.patch.spectrum) if report.patch and report.patch.spectrum else "",
        dose=curves_svg(doses, along="dose", marked=figures.get("dose")) if doses else "",
        persistence=curves_svg(steps, along="benign steps") if steps else "",
        others={k: v for k, v in figures.items() if "_at_dose_" not in k and "_after_benign_steps_" not in k},
    )  # fmt: skip


def write_report(report: PatchReport, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.html`` and ``name.json`` into a folder, which is made; each is whole or not there.

    Raises:
        OSError: They can't be written; no draft is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / f"{name}.html", folder / f"{name}.json"
    write_whole(page, page_of(report).encode(errors="backslashreplace"))
    write_whole(data, json.dumps(plain_of(report), indent=2, sort_keys=True) + "\n")
    return page, data


def _finite(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figure(value: object) -> str:
    """Write a number for people: integers whole, others to three digits."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 else f"{value:.3g}"
