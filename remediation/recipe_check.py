"""Whether the recipes of a ladder can be made of their options, before a repair needs them.

Recipes' modules import torch, and who asks must not: ``python -m remediation.recipe_check`` reads rungs as JSON from
standard input and writes what is wrong with them, and all their options with defaults, as the last line of standard
output. One child looks at all rungs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from remediation.errors import PatchFailed, WorkerDied
from remediation.prompt_files import split_prompts

__all__ = ["Fault", "Looked", "Rung", "check_rungs", "fault_of", "look_at", "told_of"]

_GROUP = "alignd.patchers"
_CONTROLS = frozenset({"benign", "random"})
"""Plugins that are there to be held against; one from elsewhere says so by ``CONTROL = True`` in its module."""
_READ, _MADE, _PATTERNS = ("task_prompts", "pool"), ("pool_key", "pool_state"), ("modules",)
"""Options that name a file to read, those that name one which is made at first use, and regular expressions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A recipe of a ladder.

    Attributes:
        where: Key in the settings, for the message.
        control: Whether a control may stand here too, as where recipes are only measured.
        device: Where it shall compute: ``cpu``, ``cuda`` or ``cuda:N``.
    """

    where: str
    recipe: str
    options: Mapping[str, Any] = field(default_factory=dict)
    control: bool = False
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a rung.

    Attributes:
        where: Its key in the settings.
        told: The key, what is wrong and the way out.
        unchecked: Whether the recipe can't be imported or run here, so that nothing is known of its options.
    """

    where: str
    told: str
    unchecked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What is found of a rung.

    Attributes:
        fault: What is wrong with it, ``None`` where it can be used.
        options: All of its options in plain values, those that were not given by their defaults; as given, where there
            is a fault.
    """

    fault: Fault | None
    options: Mapping[str, Any]


def check_rungs(rungs: Sequence[Rung], *, timeout_seconds: float = 300.0) -> tuple[Fault, ...]:
    """Look at all rungs and return what is wrong with them.

    Raises:
        WorkerDied: As ``look_at``.
    """
    return tuple(f for one in look_at(rungs, timeout_seconds=timeout_seconds) if (f := one.fault))


def look_at(rungs: Sequence[Rung], *, timeout_seconds: float = 300.0) -> tuple[Looked, ...]:
    """Look at all rungs in one child process, some seconds for the import of torch.

    Raises:
        WorkerDied: The child ended without an answer, or took too long.
    """
    if not rungs:
        return ()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "remediation.recipe_check"],
            input=json.dumps([asdict(r) for r in rungs], default=str),
            capture_output=True, text=True, errors="replace", timeout=timeout_seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise WorkerDied(f"recipes were not looked at in {timeout_seconds:g} s") from error
    try:
        said = json.loads(done.stdout.splitlines()[-1])
        return tuple(
            Looked(fault=Fault(**one["fault"]) if one["fault"] else None, options=one["options"]) for one in said
        )
    except (ValueError, LookupError, TypeError) as error:
        tail = "\n".join(done.stderr.splitlines()[-8:])
        raise WorkerDied(f"the look at the recipes ended with {done.returncode} and no result:\n{tail}") from error


def fault_of(rung: Rung) -> Fault | None:
    """Look at one rung in this process; ``None`` where it can be used."""
    found = {e.name: e.value for e in entry_points(group=_GROUP)}
    if rung.recipe not in found:
        return _fault(rung, f"no recipe {rung.recipe!r}; there are: {', '.join(sorted(found))}")
    try:
        module = importlib.import_module(found[rung.recipe])
    except (ImportError, OSError) as error:
        return _fault(
            rung, f"recipe {rung.recipe} can't be imported on this machine ({error}), so that nothing can be repaired "
            "with it; install alignd[patch], or leave recipes empty where this machine only watches", unchecked=True,
        )  # fmt: skip
    if not rung.control and (rung.recipe in _CONTROLS or getattr(module, "CONTROL", False)):
        fit = ", ".join(sorted(found.keys() - _CONTROLS))
        return _fault(
            rung, f"{rung.recipe} is a control, made to hold repairs against, and repairs nothing; take it out of the "
            f"ladder, or choose of: {fit}",
        )  # fmt: skip
    if rung.device != "cpu" and (why := importlib.import_module("remediation.device").fault_here(rung.device)):
        return _fault(rung, f"device {rung.device} can't be used: {why}; give another, or cpu", unchecked=True)
    wrong = "; ".join(_wrong_options(module, rung.options))
    return _fault(rung, f"recipe {rung.recipe} refuses its options: {wrong}") if wrong else None


def _fault(rung: Rung, told: str, *, unchecked: bool = False) -> Fault:
    return Fault(where=rung.where, told=f"{rung.where}: {told}", unchecked=unchecked)


def _wrong_options(module: Any, options: Mapping[str, Any]) -> list[str]:  # noqa: ANN401  (a plugin's module)
    try:
        made = module.Options(**options)
        module.make(made)
    except ValidationError as error:
        return told_of(error, module.Options)
    except (PatchFailed, ValueError, TypeError) as error:
        return [str(error)]
    return [*_wrong_files(made), *_wrong_patterns(made)]


def told_of(error: ValidationError, options: Any) -> list[str]:  # noqa: ANN401  (a plugin's class)
    """Say in plain sentences what is wrong with a recipe's options."""
    return [_said(one, options) for one in error.errors()]


def _said(error: Any, model: Any) -> str:  # noqa: ANN401  (pydantic's own mapping, and a plugin's class)
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        there = ", ".join(getattr(model, "model_fields", {})) or "none"
        return f"no option {name!r}; there are: {there}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name or 'options'}: {message[:1].lower()}{message[1:]} (given: {error['input']!r})"


def _wrong_files(options: Any) -> list[str]:  # noqa: ANN401  (a plugin's options)
    given = {n: f for n in (*_READ, *_MADE) if isinstance(f := getattr(options, n, None), Path)}
    read = [
        f"{n}: {f} {why}; give a text file of prompts, separated by lines of ---"
        for n, f in given.items() if n in _READ and (why := _unreadable(f))
    ]  # fmt: skip
    made = [
        f"{n}: {f} can't be made; give a file in a folder that is there"
        for n, f in given.items() if n in _MADE and (f.is_dir() or not f.parent.is_dir())
    ]  # fmt: skip
    return read + made


def _unreadable(file: Path) -> str:
    try:
        return "" if split_prompts(file.read_text(encoding="utf-8")) else "has no prompt"
    except UnicodeDecodeError:
        return "is no UTF-8 text"
    except OSError as error:
        return f"can't be read ({error.strerror})"


def _wrong_patterns(options: Any) -> list[str]:  # noqa: ANN401  (a plugin's options)
    wrong = []
    for name in _PATTERNS:
        if isinstance(given := getattr(options, name, None), str):
            try:
                re.compile(given)
            except re.error as error:
                wrong.append(f"{name}: {given!r} is no regular expression ({error}); mend it, or leave it out for all")
    return wrong


def _looked(rung: Rung) -> Looked:
    fault = fault_of(rung)
    return Looked(fault=fault, options=rung.options if fault else _all_options(rung))


def _all_options(rung: Rung) -> Mapping[str, Any]:
    (plugin,) = entry_points(group=_GROUP, name=rung.recipe)
    made = plugin.load().Options(**rung.options)
    return made.model_dump(mode="json") if isinstance(made, BaseModel) else rung.options


def main() -> None:
    """Look at the rungs on standard input; what recipes print goes to standard error."""
    rungs = [Rung(**one) for one in json.load(sys.stdin)]
    with contextlib.redirect_stdout(sys.stderr):
        looked = [asdict(one) for one in map(_looked, rungs)]
    sys.stdout.write(json.dumps(looked) + "\n")


if __name__ == "__main__":
    main()
