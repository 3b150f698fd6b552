"""The audits of a site: one folder each, whole or not there; the one under way lies apart until it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.durable import clear_scratch, held, write_whole
from monitor.audits.request import AuditRequest
from monitor.errors import ConfigError

__all__ = ["AUDIT", "FORMAT", "OUTCOMES", "Archive", "canonical", "is_audit"]

FORMAT = "alignd-audit/1"
"""Named in each audit; raised when a key changes its meaning."""
AUDIT, OUTCOMES, REQUEST = "audit.json", "outcomes.json", "request.json"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,40}-\d{8}-\d{6}")
_WORK = ".work"


def canonical(content: object) -> bytes:
    """Write plain values in one way only: sorted keys, no spaces, ASCII, a line's end."""
    line = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return line.encode() + b"\n"


def is_audit(name: str) -> bool:
    """Whether a name is one that audits have: a target and a moment."""
    return _ID.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Archive:
    """All audits of a site."""

    folder: Path

    def ids(self, target: str = "") -> tuple[str, ...]:
        """List audits, newest first; of one target, or of all."""
        found = [p.name for p in self.folder.glob("*/") if _ID.fullmatch(p.name) and (p / AUDIT).is_file()]
        mine = [i for i in found if not target or i[:-16] == target]
        return tuple(sorted(mine, key=lambda i: (i[-15:], i), reverse=True))

    def newest(self) -> dict[str, datetime]:
        """Return when each target's newest audit began."""
        return {a[:-16]: datetime.strptime(a[-15:], "%Y%m%d-%H%M%S").replace(tzinfo=UTC) for a in reversed(self.ids())}

    def place(self, audit: str) -> Path:
        """Return where an audit lies, or will.

        Raises:
            ConfigError: That is no audit's name.
        """
        if not is_audit(audit):
            raise ConfigError(f"{audit!r} is no audit; `alignd audit show` lists them")
        return self.folder / audit

    def read(self, audit: str) -> dict[str, Any]:
        """Read an audit.

        Raises:
            ConfigError: There is none of this name, or it is not one that this version reads.
        """
        path = self.place(audit) / AUDIT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"no audit {audit!r} in {self.folder}; `alignd audit show` lists them") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path} can't be read; put a copy back") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ConfigError(f"{path} is no audit of this version ({FORMAT}); read it with the one that wrote it")
        return found

    def outcomes(self, audit: str) -> tuple[Mapping[str, Any], ...]:
        """Read an audit's outcomes, prompt by prompt; none where the folder was handed on without them."""
        path = self.place(audit) / OUTCOMES
        try:
            return tuple(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path} can't be read; put a copy back") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from auditing until the block ends: two audits at once would double the load.

        Raises:
            StoreInUse: One of them is at it.
        """
        work = self.folder / _WORK
        try:
            work.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"{work}: can't be written ({error.strerror}); set audits.folder to another") from error
        with held(work, alone=True, what="the folder of audits"):
            clear_scratch(self.folder)
            yield

    def unfinished(self) -> tuple[AuditRequest, ...]:
        """Return the audits that were begun and are not done, oldest first."""
        found = (self._begun(path) for path in sorted((self.folder / _WORK).glob(f"*/{REQUEST}")))
        return tuple(sorted((r for r in found if r), key=lambda r: r.began_at))

    def begin(self, request: AuditRequest) -> AuditRequest:
        """Put an audit's request down; one that was begun goes on.

        Returns:
            The request under the name that it has now: names count seconds, and another audit may have had its own.
        """
        while (found := self._begun(self.work(request) / REQUEST)) != request and (
            found or self.place(request.id).exists()
        ):
            request = request.anew(request.began_at)
        self.work(request).mkdir(mode=0o700, exist_ok=True)
        write_whole(self.work(request) / REQUEST, canonical(request.to_json()), private=True)
        return request

    def work(self, request: AuditRequest) -> Path:
        """Return where an audit is made."""
        return self.folder / _WORK / request.id

    def drop(self, request: AuditRequest) -> None:
        """Forget an audit that was begun, with all that was answered."""
        shutil.rmtree(self.work(request), ignore_errors=True)

    def _begun(self, path: Path) -> AuditRequest | None:
        try:
            return AuditRequest.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path.parent} is no audit that was begun; remove it") from error
