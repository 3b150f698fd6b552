"""The program, as it is called from a terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monitor import cli

__all__ = ["Alignd", "called_in"]

Alignd = Callable[..., tuple[int, str, str]]
"""Called with words; returns exit code, output and errors."""


def called_in(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *group: str,
    columns: int = 200,
) -> Alignd:
    """Return what calls ``alignd``, or a group of its commands, in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", str(columns))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["alignd", *group, *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call
