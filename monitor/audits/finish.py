"""Lay an audit out and put its folder in place, in a process of its own: ``python -m monitor.audits.finish``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from deploy.durable import new_folder
from monitor.audits.archive import AUDIT, OUTCOMES
from monitor.audits.page import page_of

__all__ = ["finish"]


def finish(work: Path, final: Path) -> tuple[str, ...]:
    """Make an audit's folder of what was measured; it is there whole or not at all.

    Returns:
        What a person should know, e.g. why there is no PDF.

    Raises:
        CheckpointError: The folder can't be written.
    """
    document = json.loads((work / AUDIT).read_text(encoding="utf-8"))
    if not final.exists():
        with new_folder(final) as folder:
            for name in (AUDIT, OUTCOMES):
                shutil.copyfile(work / name, folder / name)
            (folder / OUTCOMES).chmod(0o600)
            (folder / "audit.html").write_text(page_of(document), encoding="utf-8", errors="backslashreplace")
    shutil.rmtree(work)
    return ()


if __name__ == "__main__":
    print(json.dumps({"notes": finish(Path(sys.argv[1]), Path(sys.argv[2]))}))
