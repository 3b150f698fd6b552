"""Records and transcripts that were damaged on disk: what is whole comes back as it was written, and nothing else."""

from __future__ import annotations

import json
import random
import shutil
from functools import cache
from pathlib import Path

from probes.errors import RecordError, TranscriptError
from probes.judge import Judgement, Verdict
from probes.probe import Probe
from probes.record import SweepRecord
from probes.result import ProbeResult, SweepId, SweepResult
from probes.target import Completion
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep, Transcript, words_of
from probes.transcripts.store import TranscriptReader, TranscriptStore
from tests.mutations.damage import ODD_TEXTS, ODD_VALUES, damaged_bytes, damaged_json, swap
from tests.mutations.replies import NOW, probes_of

__all__ = ["check"]

_HEADER = {"sweep": "s", "suite_sha256": "0" * 64, "n": 5, "started_at": "then"}


def check(rng: random.Random, folder: Path) -> str:
    """Write a few results, damage the file and read it again; return what is wrong with what was read."""
    probes = probes_of(rng, 5)
    written = [_result(rng, rng.choice(probes)) for _ in range(rng.randrange(1, 9))]
    return (
        _record(rng, folder / "record", probes, written) if rng.random() < 0.6 else _transcripts(rng, folder, written)
    )


def _record(rng: random.Random, path: Path, probes: tuple[Probe, ...], written: list[ProbeResult]) -> str:
    texts = rng.random() < 0.5
    path.unlink(missing_ok=True)
    kept = SweepRecord(path, _HEADER, probes, texts=texts)
    for one in written:
        kept.add(one)
    kept.close()
    header, *lines = path.read_bytes().splitlines(keepends=True)
    put = dict(zip(map(_content, lines), written, strict=True))
    damaged = _damaged(rng, [header, *lines])
    path.write_bytes(damaged)
    try:
        kept = SweepRecord(path, _HEADER, probes, texts=texts)
    except RecordError as error:
        return "" if damaged != b"".join([header, *lines]) and str(path) in str(error) else f"refused: {error}"
    kept.close()
    expected: dict[str, ProbeResult] = {}
    if damaged.split(b"\n")[0].startswith(b"{"):
        for one in (
            put[content]
            for line in damaged[: damaged.rfind(b"\n") + 1].splitlines()[1:]
            if (content := _content(line)) in put
        ):
            expected[one.probe.id] = one
    scored = {i: _shown(r, texts=texts) for i, r in expected.items() if r.scored}
    found = {str(i): _shown(r, texts=True) for i, r in kept.known.items()}
    return "" if found == scored else f"read {found!r:.300}, whole are {scored!r:.300}"


def _transcripts(rng: random.Random, folder: Path, written: list[ProbeResult]) -> str:
    shutil.rmtree(folder / "transcripts", ignore_errors=True)
    ring = _ring()
    store = TranscriptStore(folder / "transcripts", keep=Keep.ENCRYPTED, ring=ring, days=9)
    swept = SweepResult(
        id=SweepId("s"), target="t", release="r", suite="s", suite_sha256="0" * 64, started_at=NOW, finished_at=NOW,
        results=tuple(written),
    )  # fmt: skip
    store.record(swept, release="r")
    (path,) = (folder / "transcripts").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    said = [_words(Transcript.from_line(line), ring) for line in lines]
    if said != [_as_written(r) for r in written]:
        return "a transcript that nobody touched holds other words"
    damaged = _damaged(rng, lines)
    path.write_bytes(damaged)
    for found in TranscriptReader(folder / "transcripts").transcripts():
        try:
            words = _words(found, ring)
        except TranscriptError:
            continue
        if found.sealed and (found.to_line() not in lines or words not in said):
            return f"words that nobody sealed: {found!r:.300}"
    return ""


def _damaged(rng: random.Random, lines: list[bytes]) -> bytes:
    lines = list(lines)
    match rng.randrange(9):
        case 0:
            swap(rng, lines)
        case 1:
            at = rng.randrange(len(lines))
            lines[at:at] = [rng.choice((b"\n", b"{}\n", b"null\n", b"\0\0\0\n", b"[" * 9000 + b"\n", lines[at]))]
        case 2:
            del lines[rng.randrange(len(lines))]
        case 3:
            at = rng.randrange(len(lines))
            lines[at] = json.dumps(damaged_json(rng, json.loads(lines[at]))).encode() + b"\n"
        case 4:
            at, values = rng.randrange(len(lines)), json.loads(lines[rng.randrange(len(lines))])
            values[rng.choice(tuple(values))] = rng.choice(ODD_VALUES)()
            lines[at] = json.dumps(values).encode() + b"\n"
        case 5:
            whole = b"".join(lines)
            return whole[: rng.randrange(len(whole))]
        case 6:
            return b"".join(lines) + b"\0" * rng.randrange(600)
        case 7 if rng.random() < 0.3:
            return b"".join(lines)
    return damaged_bytes(rng, b"".join(lines)) if rng.random() < 0.7 else b"".join(lines)


def _result(rng: random.Random, probe: Probe) -> ProbeResult:
    if rng.random() < 0.2:
        return ProbeResult(probe=probe, completion=None, judgement=None, missing="timeout")
    text = "Sure, here is [placeholder]." if rng.random() < 0.6 else " ".join(rng.choices(ODD_TEXTS, k=4))
    completion = Completion(
        probe=probe.id, text=text, finish_reason="stop", model="m", release="r@1", completion_tokens=3, prompt_tokens=9,
        latency_seconds=0.25,
    )  # fmt: skip
    verdict = rng.choice(tuple(Verdict))
    scored = verdict is not Verdict.UNSCORED
    judgement = Judgement(
        probe=probe.id, verdict=verdict, p_harmful=0.25 if scored else None,
        score=rng.choice((1.0, 5.0)) if scored else None, refusal=rng.choice((True, False, None)),
        quality=None, judge="j/1", template_sha256="a" * 64,
        weight=rng.choice((1.0, 10.0)), why="" if scored else "judge_timeout", flags=("control_strings",),
    )  # fmt: skip
    missing = "" if scored else "judge_timeout"
    return ProbeResult(probe=probe, completion=completion, judgement=judgement, missing=missing)


def _shown(result: ProbeResult, *, texts: bool) -> tuple[object, ...]:
    completion = result.completion
    return result.judgement, result.missing, completion and (completion.text if texts else ""), result.probe.id


def _words(transcript: Transcript, ring: Keyring) -> tuple[object, ...]:
    words = words_of(transcript, ring)
    return (transcript.probe, transcript.verdict, transcript.score, words and (words.messages, words.answer))


def _as_written(result: ProbeResult) -> tuple[object, ...]:
    judgement, completion = result.judgement, result.completion
    verdict = judgement.verdict.value if judgement else "missing"
    words = (result.probe.messages, completion.text if completion else None)
    return result.probe.id, verdict, judgement.score if judgement else None, words


def _content(line: bytes) -> str:
    """Return what a line says, however its JSON is spaced; empty where it is no JSON."""
    try:
        return json.dumps(json.loads(line))
    except (ValueError, RecursionError):
        return ""


@cache
def _ring() -> Keyring:
    return Keyring([b"a secret of a test"])
