"""Whether rows can stand side by side: asked the same, and made of the same checkpoints.

What a path holds can change while the path does not, so a row tells digests. A row that tells none was made before
rows did, and is taken: nothing speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from remediation.errors import ReproduceError
from remediation.fixtures import ATTACKS
from remediation.reproduce.asked import looks_of
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ALIGNED, NONE, ReproduceSettings, Row, RowKey, Sources

__all__ = ["asked_of", "require_same_asked", "require_same_sources"]

_NAMED = 3
"""Rows that a message names."""


def asked_of(settings: ReproduceSettings) -> dict[str, Mapping[str, str]]:
    """Return what rows are asked now, as digests by part, by attack; the aligned model's has the empty name.

    All attacks are there, those that are not asked for now as well: their rows stand beside.

    Raises:
        ProbeError: A suite, task or judge can't be used.
    """
    aligned, drifted = RowKey(attack="", seed=0, recipe=ALIGNED), RowKey(attack="", seed=0, recipe=NONE)
    keys = [aligned, *(replace(drifted, attack=attack.name) for attack in ATTACKS)]
    return {key.attack: looks_of(settings, key).parts for key in keys}


def require_same_asked(folder: Path, rows: Iterable[Row], asked: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse rows that were asked something else than rows are asked now; those that failed were asked nothing.

    Raises:
        ReproduceError: Names what differs, the rows and the way out.
    """
    by_row = ((r.key.name, r.asked_otherwise(asked.get(r.key.attack, asked[""]))) for r in rows if r.figures)
    other = {name: parts for name, parts in by_row if parts}
    if other:
        what = ", ".join(dict.fromkeys(part for parts in other.values() for part in parts))
        raise ReproduceError(
            f"{_names(other)} in {folder} had another content of: {what}; these files were changed since, or alignd "
            f"was. Put them back, give another --out, or remove those rows from {folder / 'rows'}, and they are made "
            "again"
        )


def require_same_sources(
    folder: ReproduceFolder, settings: ReproduceSettings, rows: Iterable[Row], key: RowKey, sources: Sources
) -> None:
    """Refuse to make a row of another model, or of another drifted checkpoint, than the rows beside it.

    Raises:
        ReproduceError: Names the folder that was changed, the rows and the way out.
    """
    made = [r for r in rows if r.figures]
    if other := [r.key.name for r in made if r.sources.model not in {"", sources.model}]:
        raise ReproduceError(
            f"{settings.model} is not what it was when {_names(other)} in {folder.path} were made; put its files back, "
            "or give another --out"
        )
    own = [r for r in made if key.attack and r.key.drifted == key.drifted]
    if other := [r.key.name for r in own if r.sources.drifted not in {"", sources.drifted}]:
        raise ReproduceError(
            f"{folder.drifted(key)} is not what it was when {_names(other)} were made; put its files back, give "
            f"another --out, or remove {folder.path / 'rows' / key.drifted}-*.json, and those rows are made again"
        )


def _names(rows: Iterable[str]) -> str:
    every = list(rows)
    more = f" and {len(every) - _NAMED} more rows" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
