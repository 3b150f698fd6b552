"""Manifests of the project's own suites: what each holds, under which licence, and how it is split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from probes.behavior import SuiteKind
from probes.errors import SuiteError

__all__ = ["SPLIT", "SuiteManifest", "builtin_manifests"]

SPLIT = "HMAC-SHA256 of the id under the site's key: 50 % rotating, 20 % sentinel, 30 % sealed"
"""How ``probes.behavior.partition_of`` splits every suite. How many fall where is for the holder of the key to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteManifest:
    """What a suite says of itself.

    Attributes:
        version: Semantic version; empty for a file, whose digest is its version.
        use: ``probe``, or ``train`` for a pool that recipes may train on and no sweep should ask.
        rows: Prompts in it.
        sha256: Digest of the content, as every record of a sweep has it; ``probes.suites.content_sha256`` makes it.
        licence: SPDX name; empty where the source states none.
        split: How its prompts are split into rotating, sentinel and sealed ones.
        about: One sentence on what is in it.
    """

    name: str
    kind: SuiteKind
    version: str
    use: str
    rows: int
    sha256: str
    licence: str
    split: str
    about: str


@cache
def builtin_manifests() -> Mapping[str, SuiteManifest]:
    """Return the manifests of the built-in suites by name, in the order in which they are listed.

    Raises:
        SuiteError: The installed file of manifests is damaged.
    """
    try:
        text = files("probes.suites").joinpath("data", "manifests.json").read_text(encoding="utf-8")
        found = [_manifest(row) for row in json.loads(text)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SuiteError("the manifests of the built-in suites are damaged; install alignd again") from error
    return MappingProxyType({m.name: m for m in found})


def _manifest(row: Mapping[str, Any]) -> SuiteManifest:
    return SuiteManifest(
        name=row["name"],
        kind=SuiteKind(row["kind"]),
        version=row["version"],
        use=row["use"],
        rows=row["rows"],
        sha256=row["sha256"],
        licence=row["licence"],
        split=row["split"],
        about=row["about"],
    )
