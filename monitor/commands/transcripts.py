"""``alignd transcripts``: find what was asked and answered, open it with the key, remove it."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from monitor.commands.moments import moment_of
from monitor.commands.serving import CONFIG, ConfigFile
from monitor.commands.transcript_text import told, transcript_table
from monitor.errors import ConfigError
from monitor.settings import load_settings
from probes.errors import AlteredTranscript, TranscriptError
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import MISSING, Keep, Transcript, Words, words_of
from probes.transcripts.store import TranscriptReader, TranscriptStore

__all__ = ["app"]

app = typer.Typer(help="Look at what was asked and answered.", no_args_is_help=True)

_USAGE, _ALTERED, _NO_MATCH = 2, 1, 1

Folder = Annotated[
    Path | None, typer.Option(help="Folder of transcripts, e.g. a copy; the configuration is not read then.")
]
KeyFile = Annotated[Path | None, typer.Option(help="File that holds the key; also for earlier keys.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
IdArg = Annotated[str, typer.Argument(help="Id of a probe or of a whole sweep, see `alignd transcripts list`.")]

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where transcripts lie, the keys there are for them, and the days that they are kept."""

    folder: Path
    ring: Keyring
    days: int = 0


@app.command("list")
def list_(
    config: ConfigFile = CONFIG,
    *,
    folder: Folder = None,
    target: Annotated[str, typer.Option(help="Only this target.")] = "",
    sweep: Annotated[str, typer.Option(help="Only this sweep.")] = "",
    release: Annotated[str, typer.Option(help="Only this release.")] = "",
    verdict: Annotated[str, typer.Option(help="Only harmful, safe, unscored or missing.")] = "",
    since: Annotated[str, typer.Option(help="From this day or time on, e.g. 2026-11-25 (UTC).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most lines, the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List transcripts, newest first, without their texts; needs no key."""
    if verdict not in {"", "harmful", "safe", "unscored", MISSING}:
        raise ConfigError(f"--verdict: {verdict!r} is none of harmful, safe, unscored, {MISSING}")
    source, from_time = _source(config, folder, None), moment_of(since, "--since") if since else None
    wanted = {"target": target, "sweep": sweep, "release": release, "verdict": verdict}
    reader = TranscriptReader(source.folder)
    fitting = (
        t
        for t in _read(reader, since=from_time.date() if from_time else None, about=sweep)
        if all(getattr(t, name) == value for name, value in wanted.items() if value)
        and (from_time is None or t.at >= from_time)
    )
    found = list(islice(fitting, limit))
    if as_json:
        typer.echo(json.dumps([t.to_json() | {"sealed": bool(t.sealed)} for t in found], indent=2))
    elif found:
        console.print(transcript_table(found))
    else:
        typer.echo(f"no transcripts in {source.folder} that fit")
    _tell_damaged(reader)


@app.command()
def show(
    which: IdArg,
    config: ConfigFile = CONFIG,
    *,
    folder: Folder = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the texts of a probe or of a sweep. Exit code: 0, 1 where one was altered, 2 where the key is missing."""
    source = _source(config, folder, key_file)
    reader = TranscriptReader(source.folder)
    code, shown = 0, []
    for transcript in _chosen(reader, which, source.folder):
        words, why = None, ""
        try:
            words = words_of(transcript, source.ring)
        except TranscriptError as error:
            why = f"{transcript.probe}: {error}"
            code = max(code, _ALTERED if isinstance(error, AlteredTranscript) else _USAGE)
            typer.echo(f"alignd: {told(why)}", err=True)
        shown.append(transcript.to_json() | {"words": _plain(words), "why": why})
        if not as_json and not why:
            typer.echo(_page(transcript, words))
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
    _tell_damaged(reader)
    raise typer.Exit(code)


@app.command()
def verify(
    text_file: Annotated[Path, typer.Option("--text-file", help="File that holds the text, in UTF-8.")],
    which: Annotated[str, typer.Argument(help="Id of a probe or a sweep; everything where not given.")] = "",
    config: ConfigFile = CONFIG,
    *,
    folder: Folder = None,
    key_file: KeyFile = None,
) -> None:
    """Say which prompts or completions a text is, by the hashes. Exit code: 0 where it is one, 1 where it is none."""
    source = _source(config, folder, key_file)
    texts = _texts(text_file)
    by_key = [source.ring.hashes(text) for text in texts]
    reader = TranscriptReader(source.folder)
    matched, other_keys = False, set()
    for transcript in _chosen(reader, which, source.folder):
        digests = [hashes[transcript.key] for hashes in by_key if transcript.key in hashes]
        if not digests:
            other_keys.add(transcript.key)
        places = [(f"message of {role}", digest) for role, digest in transcript.prompt]
        for place, digest in [*places, ("answer", transcript.answer)]:
            if digest in digests:
                matched = True
                typer.echo(f"{told(transcript.probe)}: {told(place)}")
    _tell_damaged(reader)
    if other_keys:
        named = ", ".join(sorted(told(k) for k in other_keys))
        typer.echo(f"alignd: not looked at for want of their keys: transcripts with the key {named}", err=True)
    if not matched:
        typer.echo("no transcript has this text", err=True)
        raise typer.Exit(_USAGE if other_keys else _NO_MATCH)


@app.command()
def purge(
    config: ConfigFile = CONFIG,
    *,
    before: Annotated[str, typer.Option(help="Remove the days before this one; else what is out of time.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove transcripts for good, by whole days; the daemon removes what is out of time once a day."""
    source, now = _source(config, None, None), datetime.now(UTC)
    day: date | None = moment_of(before, "--before").date() if before else None
    store = TranscriptStore(source.folder, keep=Keep.NOTHING, ring=source.ring, days=source.days)
    try:
        outdated = store.outdated(now, before=day)
        if not outdated:
            typer.echo("nothing to remove")
            return
        typer.echo(f"{len(outdated)} days in {source.folder}: {outdated[0].stem} to {outdated[-1].stem}")
        if not yes and not (sys.stdin.isatty() and typer.confirm("Remove them for good?")):
            raise ConfigError("nothing was removed; say --yes to remove them")
        store.purge(now, before=day)
    except TranscriptError as error:
        raise ConfigError(str(error)) from error
    typer.echo("removed")


@app.command("new-key")
def new_key() -> None:
    """Print a new key for `transcripts.key`."""
    typer.echo(secrets.token_hex(32))


def _source(config: Path, folder: Path | None, key_file: Path | None) -> _Source:
    given = (_key(key_file),) if key_file else ()
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        return _Source(folder=folder, ring=Keyring(given))
    settings = load_settings(config)
    kept = settings.transcripts
    return _Source(folder=kept.folder, ring=Keyring(given + settings.transcript_secrets()), days=kept.days)


def _key(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    if not key:
        raise ConfigError(f"{path}: holds no key")
    return key


def _texts(path: Path) -> tuple[str, ...]:
    """Read a text as it is and, where it ends a line as editors do, without that end."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 ({error.reason} at byte {error.start})") from error
    return (text, text[:-1]) if text.endswith("\n") else (text,)


def _read(reader: TranscriptReader, *, since: date | None, about: str) -> Iterator[Transcript]:
    try:
        yield from reader.transcripts(since=since, about=about)
    except TranscriptError as error:
        raise ConfigError(str(error)) from error


def _chosen(reader: TranscriptReader, which: str, folder: Path) -> Iterator[Transcript]:
    """Read what an id names; what was asked first comes first where it is a sweep's."""
    found = _read(reader, since=None, about=which)
    chosen: Iterator[Transcript] | list[Transcript] = sorted(found, key=lambda t: t.probe) if which else found
    if which and not chosen:
        raise ConfigError(f"no transcript of {which!r} in {folder}; `alignd transcripts list` shows what there is")
    yield from chosen


def _page(transcript: Transcript, words: Words | None) -> str:
    t = transcript
    lines = [
        f"{t.probe}  {t.at.isoformat(timespec='seconds')}",
        f"target {t.target}, release {t.release or '-'}, suite {t.suite}, behavior {t.behavior}, attack {t.attack}",
        f"verdict {t.verdict}, score {'-' if t.score is None else format(t.score, 'g')}, judge {t.judge or '-'}",
    ]
    page = "\n".join(told(line) for line in lines) + "\n"
    if words is None:
        return page + "the text was not kept, only its hash; `alignd transcripts verify` tells whether a text is it\n"
    parts = [(m.role, m.content) for m in words.messages]
    if words.answer is not None:
        parts.append((f"answer ({words.finish_reason})", words.answer))
    page += "".join(f"{told(head)}:\n{told(text, indent='    ')}\n" for head, text in parts)
    if words.answer is None:
        page += f"no answer: {told(t.missing)}\n"
    return page + (f"{words.left_out} characters were left out\n" if words.left_out else "")


def _plain(words: Words | None) -> dict[str, Any] | None:
    if words is None:
        return None
    messages = [{"role": m.role, "content": m.content} for m in words.messages]
    return {
        "messages": messages, "answer": words.answer, "finish_reason": words.finish_reason, "left_out": words.left_out,
    }  # fmt: skip


def _tell_damaged(reader: TranscriptReader) -> None:
    if reader.damaged:
        typer.echo(f"alignd: {reader.damaged} damaged lines were passed over", err=True)
