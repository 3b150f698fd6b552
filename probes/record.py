"""An append-only record of one sweep: one JSON object a line, a header first, then each probe's result as it ends.

A sweep that was killed goes on from its record: what has a verdict is neither asked nor judged again, what is missing
is asked again. A line that the kill cut short is dropped. Texts are kept only where the header says so. Each result
carries a checksum of itself, so that a line that was changed by hand or by a failing disk is no verdict.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.errors import RecordError, RecordLost
from probes.judge import Judgement, Verdict
from probes.probe import Probe, ProbeId
from probes.result import ProbeResult
from probes.target import Completion

__all__ = ["VERSION", "SweepRecord", "read_header"]

VERSION = 1
_BEGINS = b'{"record": '
"""How every record begins, also one that a kill cut short in its header."""
_FREE = ("started_at",)
"""Keys of the header that may differ when a sweep goes on."""


def read_header(path: Path) -> dict[str, Any] | None:
    """Return a record's header; ``None`` where there is no record, or nothing whole in it.

    Raises:
        RecordError: The file can't be read or is no record of this version.
    """
    if path.exists() and not path.is_file():
        raise RecordError(f"{path} is no file; give another place")
    try:
        with path.open("rb") as file:
            first = file.readline()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"{path}: can't be read ({error.strerror}); check the path and its rights") from error
    if not first.endswith(b"\n") and (first.startswith(_BEGINS) or _BEGINS.startswith(first)):
        return None
    header = _object(first)
    if header is None or header.get("record") != VERSION or not first.endswith(b"\n"):
        raise RecordError(f"{path} is no record of a sweep (version {VERSION}); give another place to write to")
    return header


class SweepRecord:
    """A record that is being written; one process at a time."""

    def __init__(self, path: Path, header: Mapping[str, Any], probes: Sequence[Probe], *, texts: bool) -> None:
        """Begin a record, or go on with the one that is there.

        Args:
            path: The file; made readable for its owner alone.
            header: Everything that decides the sweep, in plain values, without texts or secrets.
            probes: The sweep's probes, so that results can be read back.
            texts: Whether to keep the answers' texts.

        Raises:
            RecordError: It can't be written, another process writes it, or it holds another sweep.
        """
        self._path, self._texts = path, texts
        self.header = {"record": VERSION, **header, "texts": texts}
        self.known: dict[ProbeId, ProbeResult] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise RecordError(f"{path}: can't be written ({error.strerror}); give another place") from error
        try:
            self._begin(probes)
        except BaseException:
            os.close(self._file)
            raise

    def add(self, result: ProbeResult) -> None:
        """Put a result down; it survives a kill of this process.

        Raises:
            RecordError: The disk is full or gone; what was put down before stays.
        """
        line = _line(result, texts=self._texts)
        self._write({**line, "crc32": _checksum(line)})

    def close(self) -> None:
        """Bring everything to the disk and close the file."""
        os.fsync(self._file)
        os.close(self._file)

    def _begin(self, probes: Sequence[Probe]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecordError(f"{self._path}: another process writes it; wait for it or give another place") from error
        before = read_header(self._path)
        if before is None:
            os.ftruncate(self._file, 0)
            self._write(self.header)
            return
        for key in (before.keys() | self.header.keys()) - set(_FREE):
            if before.get(key) != self.header.get(key):
                raise RecordError(
                    f"{self._path} holds another sweep ({key} differs); give another place, or the same arguments"
                )
        self._go_on({p.id: p for p in probes})

    def _go_on(self, probes: Mapping[ProbeId, Probe]) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)
        for number, line in enumerate(data[:whole].splitlines()[1:], 2):
            found = _object(line)
            result = _result(found, probes) if found else None
            if result is None:
                raise RecordError(f"{self._path}, line {number}: no result of this sweep; mend or remove the file")
            self.known[result.probe.id] = result
        self.known = {i: r for i, r in self.known.items() if r.scored}

    def _write(self, values: Mapping[str, Any]) -> None:
        line = _encoded(values) + b"\n"
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            os.ftruncate(self._file, end)
            raise RecordLost(f"{self._path}: can't be written ({error.strerror}); free the disk and go on") from error
        if written < len(line):
            os.ftruncate(self._file, end)
            raise RecordLost(f"{self._path}: can't be written (the disk is full); free the disk and go on")


def _encoded(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode()


def _checksum(values: Mapping[str, Any]) -> int:
    return zlib.crc32(_encoded(values))


def _line(result: ProbeResult, *, texts: bool) -> dict[str, Any]:
    probe, completion, judgement = result.probe, result.completion, result.judgement
    line: dict[str, Any] = {
        "probe": probe.id, "behavior": probe.behavior.id, "category": probe.behavior.category, "attack": probe.attack,
        "probability": probe.probability, "seed": probe.seed, "missing": result.missing,
    }  # fmt: skip
    if completion:
        line["completion"] = {
            "finish_reason": completion.finish_reason, "model": completion.model, "release": completion.release,
            "completion_tokens": completion.completion_tokens, "prompt_tokens": completion.prompt_tokens,
            "latency_seconds": round(completion.latency_seconds, 6),
        }  # fmt: skip
        if texts:
            line["messages"] = [{"role": m.role, "content": m.content} for m in probe.messages]
            line["text"] = completion.text
    if judgement:
        line["judgement"] = {
            "verdict": judgement.verdict.value, "p_harmful": judgement.p_harmful, "score": judgement.score,
            "refusal": judgement.refusal, "quality": judgement.quality, "judge": judgement.judge,
            "template_sha256": judgement.template_sha256, "why": judgement.why, "weight": judgement.weight,
            "sampled": judgement.sampled,
            "flags": list(judgement.flags),
        }  # fmt: skip
    return line


def _result(line: Mapping[str, Any], probes: Mapping[ProbeId, Probe]) -> ProbeResult | None:
    try:
        if line["crc32"] != _checksum({k: v for k, v in line.items() if k != "crc32"}):
            return None
        probe = probes[ProbeId(line["probe"])]
        said, judged = line.get("completion"), line.get("judgement")
        if line["behavior"] != probe.behavior.id or line["attack"] != probe.attack:
            return None
        completion = Completion(probe=probe.id, text=line.get("text", ""), **said) if said else None
        judgement = None
        if judged:
            verdict, flags = Verdict(judged["verdict"]), tuple(judged["flags"])
            judgement = Judgement(probe=probe.id, **{**judged, "verdict": verdict, "flags": flags})
        return ProbeResult(probe=probe, completion=completion, judgement=judgement, missing=line["missing"])
    except (KeyError, TypeError, ValueError):
        return None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
