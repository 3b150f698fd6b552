"""What a run asks for, and its rows in order. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from remediation.fixtures import ATTACKS
from remediation.patch import Control, Screen
from remediation.reproduce.looks import AFFIRMATION, ALL, PHRASES, Figures

__all__ = [
    "ALIGNED", "CONTROLS", "NONE", "ReproduceSettings", "Row", "RowKey", "Sources", "options_sha256", "plan",
    "row_from_json", "row_to_json",
]  # fmt: skip

ALIGNED, NONE = "aligned", "none"
"""Rows without a recipe: the model as given, and the drifted one."""
CONTROLS = ("random", "benign")
"""Recipes that should not help."""

Recipe = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(@[\w.-]+)?$")]
"""Safe as the name of a file."""


class ReproduceSettings(BaseModel):
    """Everything that decides a run's figures; kept beside its rows, so that two runs never mix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    """Folder of the aligned checkpoint."""
    attacks: tuple[str, ...] = Field(default=tuple(a.name for a in ATTACKS), min_length=1)
    recipes: tuple[Recipe, ...] = Field(min_length=1)
    """Plugins; what follows an ``@`` names a variant with options of its own, as in ``restore-tuned@15``."""
    recipe_options: dict[str, dict[str, Any]] = {}
    """By recipe and variant, with defaults (``resolved``); of aligned and drifted models there are none."""
    seeds: int = Field(default=1, ge=1)
    suites: tuple[str, ...] = Field(default=("harm_probe",), min_length=1)
    """Harmful requests: built-in names or files."""
    benign: tuple[str, ...] = ("benign_edge", "ordinary")
    """Harmless requests: built-in names or files."""
    tasks: dict[str, dict[str, Any]] = {"sql": {}}
    """Options by task plugin."""
    judges: dict[str, dict[str, Any]] = {}
    """Options by judge plugin, beside the two that are always asked."""
    harm_tokens: int = Field(default=32, ge=1)
    """Longest answer to a harmful request; HarmBench's own figures take 512."""
    limit: int | None = Field(default=None, ge=1)
    """Prompts of each suite and task at most; all where not given."""
    task_limit: int | None = Field(default=None, ge=1)
    """Questions of each task at most, in place of ``limit``."""
    batch: int = Field(default=64, ge=1)
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1`` …, or ``auto`` to spread a large model over what there is."""

    def options_of(self, key: RowKey) -> Mapping[str, Any]:
        """Options of a row's recipe."""
        return {} if key.recipe in {ALIGNED, NONE} else self.recipe_options.get(key.recipe, {})

    def asks_for(self, row: Row) -> bool:
        """Whether a row was made on the device that is asked for now and, if its recipe is, with the options for it."""
        now = row.key.recipe in {ALIGNED, NONE, *self.recipes}
        asked = self.options_of(row.key) if now else row.options
        return (options_sha256(asked), self.device) == (options_sha256(row.options), row.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKey:
    """Which row.

    Attributes:
        attack: The attack that made the drifted checkpoint; empty for the aligned model.
        recipe: A recipe, with or without a variant (``restore-tuned@15``), ``none`` (drifted) or ``aligned``.
    """

    attack: str
    seed: int
    recipe: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.attack}-s{self.seed}-{self.recipe}" if self.attack else self.recipe

    @property
    def plugin(self) -> str:
        """The recipe without its variant."""
        return self.recipe.partition("@")[0]

    @property
    def drifted(self) -> str:
        """Name of the drifted checkpoint's folder; empty for the aligned model."""
        return f"{self.attack}-s{self.seed}" if self.attack else ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Digests of what a row was made of; empty where it does not tell.

    Attributes:
        model: Of the aligned checkpoint's folder.
        drifted: Of the drifted one's; empty for the aligned model.
    """

    model: str = ""
    drifted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the tables.

    Attributes:
        figures: ``None`` where the recipe failed.
        error: Why it failed, else empty.
        seconds: Wall time of the recipe, 0 without one.
        peak_memory_bytes: Most memory of the process (of the GPU, where one is used) until the recipe was done; until
            the figures were, without a recipe.
        drift_removed: Share of the drift's squared norm that the patch took back.
        screen: The recipe's own look at what it made; ``None`` without a recipe.
        controls: Control patches of the same size, empty where none was made.
        recipe_figures: Further figures of the recipe by name (losses, steps, dose).
        options: The recipe's options, those that were not given as well; before rows told these, what was given.
        device: Where it was made.
        asked: Digests of what it was asked, by what they are of (``Looks.parts``).
        sources: Digests of the checkpoints.

    Rows that were made before rows told the last two have neither; nothing then speaks against them.
    """

    key: RowKey
    figures: Figures | None
    error: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    rank: int | None = None
    drift_removed: float | None = None
    screen: Screen | None = None
    controls: tuple[Control, ...] = ()
    recipe_figures: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    asked: Mapping[str, str] = field(default_factory=dict)
    sources: Sources = Sources()

    def asked_otherwise(self, asked: Mapping[str, str]) -> tuple[str, ...]:
        """Name the parts in which it was asked something else; an attack that only one of both knows is none.

        The aligned model is asked under the attacks that the run had when its row was made.
        """
        return tuple(part for part, digest in self.asked.items() if asked.get(part, digest) != digest)


def options_sha256(options: Mapping[str, Any]) -> str:
    """Digest of a recipe's options; their order, and whether a path is one or text, makes no difference."""
    return hashlib.sha256(_told(options).encode()).hexdigest()


def _told(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True, default=str)


def plan(attacks: Sequence[str], recipes: Sequence[str], seeds: int) -> tuple[RowKey, ...]:
    """Put the rows in order: the aligned model, then attack by attack and seed by seed, the drifted model first.

    So each drifted checkpoint is made once, and a run that is cut short has whole attacks to show.
    """
    own = [r for r in dict.fromkeys(recipes) if r not in {ALIGNED, NONE}]
    return (
        RowKey(attack="", seed=0, recipe=ALIGNED),
        *(
            RowKey(attack=attack, seed=seed, recipe=recipe)
            for attack in dict.fromkeys(attacks)
            for seed in range(seeds)
            for recipe in (NONE, *own)
        ),
    )


def row_to_json(row: Row) -> dict[str, Any]:
    """Return plain values."""
    return {
        "attack": row.key.attack, "seed": row.key.seed, "recipe": row.key.recipe, "error": row.error,
        "seconds": row.seconds, "peak_memory_bytes": row.peak_memory_bytes, "rank": row.rank,
        "drift_removed": row.drift_removed, "device": row.device, "options": json.loads(_told(row.options)),
        "options_sha256": options_sha256(row.options), "screen": asdict(row.screen) if row.screen else None,
        "controls": [asdict(c) for c in row.controls], "recipe_figures": dict(row.recipe_figures),
        "asked": dict(row.asked), "sources": asdict(row.sources),
        "figures": row.figures.to_json() if row.figures else None,
    }  # fmt: skip


def row_from_json(data: object) -> Row:
    """Rebuild what ``row_to_json`` wrote, here or before rows told their options, device, screen and digests.

    Raises:
        ValueError: It is no row: a part is missing or of another kind, or its figures lack those of the two judges that
            every checkpoint is looked at with.
    """
    if not isinstance(data, dict):
        raise ValueError("a row is a JSON object")  # noqa: TRY004  (one error for all that is no row)
    own = {name: value for name, value in data.items() if name in _ROW_PARTS}
    if missing := _ROW_PARTS_AT_FIRST - own.keys():
        raise ValueError(f"{', '.join(sorted(missing))}: missing")
    row = _ROW.validate_python({**own, "key": {name: data.get(name) for name in ("attack", "seed", "recipe")}})
    if row.figures and not {PHRASES, AFFIRMATION} <= {h.judge for h in row.figures.harm if h.suite == ALL}:
        raise ValueError(f"figures: those of {PHRASES} and {AFFIRMATION} are missing")
    return row


_ROW = TypeAdapter(Row)
_ROW_PARTS = {part.name for part in fields(Row)} - {"key"}
_ROW_PARTS_AT_FIRST = {"figures", "error", "seconds", "peak_memory_bytes", "rank", "drift_removed"}
