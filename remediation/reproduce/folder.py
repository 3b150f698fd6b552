"""A run's folder: its settings, its drifted checkpoints, and a file for each row that is done."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from deploy.durable import clear_scratch, write_whole
from remediation.errors import ReproduceError
from remediation.reproduce.plan import NONE, ReproduceSettings, Row, RowKey, plan, row_from_json, row_to_json

__all__ = ["ReproduceFolder"]

_MAY_CHANGE = {"attacks", "recipes", "seeds", "recipe_options", "batch", "device"}
"""What a later start may ask for otherwise: it adds rows, and makes those anew that hang on it."""

_OF_A_NEW_RUN = re.compile(r"drifted|rows|\.lock|\.settings\.json\..*\.partial")
"""What a folder may hold where no settings stand yet."""


@dataclass(frozen=True, slots=True)
class ReproduceFolder:
    """``settings.json``, ``rows/*.json``, ``drifted/ATTACK-sSEED/`` and, while a row runs, ``.alignd-work/``."""

    path: Path

    @property
    def work(self) -> Path:
        """Folder of what is under way, under a name that nobody else gives: it is removed with all that is in it."""
        return self.path / ".alignd-work"

    def begin(self, settings: ReproduceSettings) -> None:
        """Take a run's settings, or go on with a run of the same.

        Raises:
            ReproduceError: The folder holds something else than a run whose figures can stand beside these, or can't be
                written.
        """
        try:
            self.require_same(settings)
            if self._settings.exists():
                self.clear_work()
                for folder in (self.path, self.path / "drifted", self.path / "rows"):
                    clear_scratch(folder)
            (self.path / "rows").mkdir(parents=True, exist_ok=True)
            write_whole(self._settings, settings.model_dump_json(indent=2))
        except OSError as error:
            raise ReproduceError(f"{self.path}: can't be written ({error.strerror}); give another --out") from error

    def require_same(self, settings: ReproduceSettings) -> None:
        """Let a run go on in the folder of the same run, or begin in one that holds nothing else.

        Raises:
            ReproduceError: The folder holds a run whose figures can't stand beside these, or what is no run's; or it
                lies inside a checkpoint, which would be another with each row.
        """
        self._require_outside(settings)
        if not self._settings.exists():
            self._require_new()
            return
        before, now = self.settings().model_dump(), settings.model_dump()
        if other := [n for n in now if n not in _MAY_CHANGE and now[n] != before[n]]:
            raise ReproduceError(
                f"{self.path} holds a run with another {', '.join(other)} ({before[other[0]]}); its rows can't stand "
                "beside these: give another --out"
            )

    def settings(self) -> ReproduceSettings:
        """Read the run's settings.

        Raises:
            ReproduceError: They are not there or damaged.
        """
        try:
            return ReproduceSettings.model_validate_json(self._settings.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReproduceError(f"{self._settings}: can't be read; give another --out") from error

    def _require_outside(self, settings: ReproduceSettings) -> None:
        drifted = [self.drifted(key) for key in plan(settings.attacks, (), settings.seeds) if key.attack]
        inside = self.path.resolve()
        if checkpoint := next((c for c in (settings.model, *drifted) if inside.is_relative_to(c.resolve())), None):
            raise ReproduceError(
                f"{self.path} lies in the folder of a checkpoint, {checkpoint}: each row would change its digest; give "
                "an --out outside it"
            )

    def _require_new(self) -> None:
        """Let nothing be there but what is put there beforehand, or what a first start left that was killed."""
        try:
            there = sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise ReproduceError(f"{self.path}: can't be read ({error.strerror}); give another --out") from error
        if other := [name for name in there if not _OF_A_NEW_RUN.fullmatch(name)]:
            raise ReproduceError(
                f"{self.path} holds {other[0]}{f' and {len(other) - 1} more' if other[1:] else ''}, and no "
                "settings.json of a run; give an --out that is empty, new, or a run's own"
            )

    def clear_work(self) -> None:
        """Remove what a row left that is under way no more."""
        shutil.rmtree(self.work, ignore_errors=True)

    def drifted(self, key: RowKey) -> Path:
        """Folder of a row's drifted checkpoint. One that stands there already, from wherever, is taken."""
        return self.path / "drifted" / key.drifted

    def patched(self, key: RowKey) -> Path:
        """Folder that a row's recipe writes to."""
        return self.work / key.name

    def done(self) -> dict[str, Row]:
        """Read the rows that are done, by name.

        Raises:
            ReproduceError: A row's file is damaged, or bears another row's name; it names the file.
        """
        found = {}
        for file in sorted((self.path / "rows").glob("*.json")):
            try:
                row = row_from_json(json.loads(file.read_text(encoding="utf-8")))
            except (OSError, ValueError, RecursionError) as error:
                raise ReproduceError(f"{file}: is no row ({_first(error)}); remove it, and it is made again") from error
            if row.key.name != file.stem:
                raise ReproduceError(f"{file}: holds the row {row.key.name}; remove it, or give it that name")
            found[row.key.name] = row
        return found

    def write(self, row: Row) -> None:
        """Put a row down, whole or not at all.

        Raises:
            ReproduceError: The disk is full, or the folder can't be written.
        """
        file = self.path / "rows" / f"{row.key.name}.json"
        try:
            write_whole(file, json.dumps(row_to_json(row), indent=1))
        except OSError as error:
            raise ReproduceError(
                f"{file}: can't be written ({error.strerror}); free space, and the same command goes on"
            ) from error

    def remove(self, key: RowKey) -> None:
        """Forget a row, so that it is made again."""
        (self.path / "rows" / f"{key.name}.json").unlink(missing_ok=True)

    def rows(self, settings: ReproduceSettings) -> Sequence[Row]:
        """Return what is done of a run, in its order; what was made with other options or elsewhere is left out."""
        asked = set(plan(settings.attacks, settings.recipes, settings.seeds))
        return [row for row in self.shown(settings) if row.key in asked]

    def outdated(self, settings: ReproduceSettings) -> Sequence[str]:
        """Name the rows that are asked for and were made with other options or elsewhere: they are made anew."""
        done = self.done()
        asked = (key.name for key in plan(settings.attacks, settings.recipes, settings.seeds))
        return [name for name in asked if name in done and not settings.asks_for(done[name])]

    def shown(self, settings: ReproduceSettings) -> Sequence[Row]:
        """Return what is done of a run, and after it what earlier starts made of other attacks, recipes and seeds."""
        rows = [row for row in self.done().values() if settings.asks_for(row)]
        attacks = list(dict.fromkeys(("", *settings.attacks, *(r.key.attack for r in rows))))
        recipes = list(dict.fromkeys((NONE, *settings.recipes, *(r.key.recipe for r in rows))))
        return sorted(rows, key=lambda r: (attacks.index(r.key.attack), r.key.seed, recipes.index(r.key.recipe)))

    @property
    def _settings(self) -> Path:
        return self.path / "settings.json"


def _first(error: Exception) -> str:
    """Say in few words what is wrong, and where in the row."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    return str(error)
