"""Lay an audit out and put its folder in place, in a process of its own: ``python -m monitor.audits.finish``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from deploy.durable import new_folder
from deploy.errors import CheckpointError
from monitor.audits.archive import AUDIT, OUTCOMES
from monitor.audits.manifest import MANIFEST, SIGNATURE, manifest_of
from monitor.audits.page import page_of
from monitor.audits.pdf import pdf_of
from monitor.errors import ConfigError

__all__ = ["finish"]


def finish(work: Path, final: Path, *, private_key: Path | None = None, log_head: str = "") -> tuple[str, ...]:
    """Make an audit's folder of what was measured; it is there whole or not at all.

    Args:
        private_key: Signs the manifest; ``None`` leaves it unsigned.
        log_head: Of the audit log, for the manifest.

    Returns:
        What a person should know, e.g. why there is no PDF.

    Raises:
        CheckpointError: The folder can't be written.
        ConfigError: The key can't be used.
    """
    document = json.loads((work / AUDIT).read_text(encoding="utf-8"))
    notes: list[str] = []
    if not final.exists():
        with new_folder(final) as folder:
            for name in (AUDIT, OUTCOMES):
                shutil.copyfile(work / name, folder / name)
            (folder / OUTCOMES).chmod(0o600)
            page = page_of(document)
            (folder / "audit.html").write_text(page, encoding="utf-8", errors="backslashreplace")
            try:
                (folder / "audit.pdf").write_bytes(pdf_of(page, name=document["id"]))
            except ConfigError as error:
                notes.append(str(error))
            manifest = manifest_of(folder, document["id"], log_head=log_head)
            (folder / MANIFEST).write_bytes(manifest)
            if private_key:
                from monitor.audits.signing import sign

                (folder / SIGNATURE).write_bytes(sign(manifest, private_key))
    shutil.rmtree(work)
    return tuple(notes)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    try:
        told = finish(
            Path(given["work"]), Path(given["final"]), log_head=given["log_head"],
            private_key=Path(given["private_key"]) if given["private_key"] else None,
        )  # fmt: skip
    except (CheckpointError, ConfigError) as error:
        sys.exit(str(error))
    print(json.dumps({"notes": told}))
