"""``alignd probe``: ask a target now."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monitor.commands.options import json_object
from monitor.errors import ConfigError
from monitor.probe_settings import AskSettings, Part

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.on_demand import Asking, Found

__all__ = ["probe"]

_CONFIG = Path("alignd.yaml")
_HARM = "What is asked"
_WHERE = "Whom"
_OUT = "What comes out"
_CRASH, _USAGE = 1, 2
_WRONG_PLACE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_LINE = 4000
"""Most characters of a line that is told."""


def probe(
    *,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file; alignd.yaml if not given.",
                                                rich_help_panel=_WHERE)] = None,
    target: Annotated[str, typer.Option(help="Target of the configuration; its first one if not given.",
                                        rich_help_panel=_WHERE)] = "",
    endpoint: Annotated[str, typer.Option(help="Base URL (…/v1) of a server, without any configuration.",
                                          rich_help_panel=_WHERE)] = "",
    model: Annotated[str, typer.Option(help="Served model name, with --endpoint.", rich_help_panel=_WHERE)] = "",
    api_key_env: Annotated[str, typer.Option(help="Variable that holds the key for --endpoint.",
                                             rich_help_panel=_WHERE)] = "",
    suite: Annotated[str, typer.Option(help="Suite: a built-in name or a file.", rich_help_panel=_HARM)] = "",
    kind: Annotated[str, typer.Option(help="What a file's prompts are: harm (if not given) or benign.",
                                      rich_help_panel=_HARM)] = "",
    task: Annotated[str, typer.Option(help="Task in place of a suite: sql, gsm8k, mmlu …", rich_help_panel=_HARM)] = "",
    task_options: Annotated[str, typer.Option(help='Its options, as JSON, e.g. {"path": "rows.jsonl"}.',
                                              rich_help_panel=_HARM)] = "{}",
    part: Annotated[Part | None, typer.Option(help="Part of the suite, with a configuration: rotating if not given.",
                                              rich_help_panel=_HARM)] = None,
    attacks: Annotated[str, typer.Option(help="Attacks and weights, e.g. direct,role-play=2.",
                                         rich_help_panel=_HARM)] = "",
    attack_options: Annotated[str, typer.Option(help="Options of attacks by name, as JSON.",
                                                rich_help_panel=_HARM)] = "{}",
    judge: Annotated[str, typer.Option(help="Judge plugin.", rich_help_panel=_HARM)] = "",
    judge_options: Annotated[str, typer.Option(help="Its options, as JSON.", rich_help_panel=_HARM)] = "{}",
    n: Annotated[int | None, typer.Option(min=1, help="Probes to draw; if not given 100, or up to 400 with "
                                          "--until-decided.",
                                          rich_help_panel=_HARM)] = None,
    each: Annotated[bool, typer.Option("--each", help="Ask each behavior once instead of drawing.",
                                       rich_help_panel=_HARM)] = False,
    until_decided: Annotated[bool, typer.Option("--until-decided", help="Stop as soon as the evidence is enough.",
                                                rich_help_panel=_HARM)] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.", rich_help_panel=_HARM)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="Sampling temperature.",
                                                      rich_help_panel=_HARM)] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=256, help="Most requests in flight.",
                                                    rich_help_panel=_HARM)] = None,
    full_speed: Annotated[bool, typer.Option("--full-speed", help="Do not give way to users of the server.",
                                             rich_help_panel=_HARM)] = False,
    timeout: Annotated[float | None, typer.Option(min=0.1, help="Longest wait for one answer, in seconds.",
                                                  rich_help_panel=_HARM)] = None,
    fingerprint: Annotated[bool, typer.Option("--fingerprint/--no-fingerprint", help="Whether system_fingerprint "
                                              "names the release.", rich_help_panel=_HARM)] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for record.jsonl and report.html; a sweep that was "
                                             "killed goes on from there.", rich_help_panel=_OUT)] = None,
    export: Annotated[list[str] | None, typer.Option(help="harmbench, jailbreakbench or junit, into --out; again for "
                                                     "more.", rich_help_panel=_OUT)] = None,
    with_text: Annotated[bool, typer.Option("--with-text", help="Keep prompts and answers in --out, in the clear.",
                                            rich_help_panel=_OUT)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_OUT)] = False,
) -> None:  # fmt: skip
    """Ask a target now. Exit code: 0 healthy, 3 breach, 4 unavailable, 5 not enough evidence."""
    from monitor.asking import asking_of, closing
    from monitor.probe_report import EXPORTS, NEEDS_TEXTS

    logging.getLogger("alignd").setLevel(logging.ERROR)
    exports = tuple(export or ())
    _require_exports(exports, EXPORTS, NEEDS_TEXTS, out=out, with_text=with_text)
    if endpoint and (config or target):
        raise ConfigError("give --endpoint and --model, or a configuration with --target, not both")
    ask = AskSettings(
        target=target, endpoint=endpoint, model=model, api_key=_key(api_key_env), suite=suite, kind=kind,
        task=task, task_options=json_object(task_options, "--task-options"), part=part,
        attacks=attacks, attack_options=json_object(attack_options, "--attack-options"), judge=judge,
        judge_options=json_object(judge_options, "--judge-options"), n=n, each=each, until_decided=until_decided,
        max_tokens=max_tokens, temperature=temperature, concurrency=concurrency, full_speed=full_speed,
        timeout=timeout, fingerprint=fingerprint, with_text=with_text,
    )  # fmt: skip
    asking, close = asking_of(ask, None if endpoint else config or _CONFIG)
    found = asyncio.run(closing(_ask(asking, out, quiet=as_json), asking, close))
    if why := asking.recorder.why:
        print(f"alignd: {why}", file=sys.stderr)
    _tell(found, asking, out, exports, as_json=as_json)


async def _ask(asking: Asking, out: Path | None, *, quiet: bool) -> Found:
    from uuid import uuid4

    from monitor.bootstrap import utc_now
    from monitor.on_demand import probe_now

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as progress:
        bar = progress.add_task(asking.suite.name)

        def planned(total: int, known: int) -> None:
            progress.update(bar, total=total, completed=known)
            if known:
                print(f"alignd: {known} of {total} probes are known from {out}", file=sys.stderr)

        return await probe_now(
            asking, clock=utc_now, new_id=lambda: uuid4().hex[:12], record=out / "record.jsonl" if out else None,
            on_result=lambda _: progress.advance(bar), on_plan=planned,
        )  # fmt: skip


def _tell(found: Found, asking: Asking, out: Path | None, exports: tuple[str, ...], *, as_json: bool) -> None:
    from monitor.plain_text import plain
    from monitor.probe_report import code_of, plain_of, words_of, write_exports
    from monitor.tables import probe_table

    header = asking.header(found.sweep.id, found.sweep.started_at)
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    if as_json:
        print(json.dumps(plain_of(found, header), indent=2))
    else:
        console.print(probe_table(found), soft_wrap=False)
        word, reason = words_of(found)
        console.print(plain(f"{word}: {reason}" if reason else word, most=_LINE))
    if out:
        try:
            written = write_exports(found, header, out, exports)
        except OSError as error:
            where = plain(error.filename or out, most=_LINE)
            print(f"alignd: {where}: can't be written ({error.strerror}); give another --out", file=sys.stderr)
            raise typer.Exit(_USAGE if isinstance(error, _WRONG_PLACE) else _CRASH) from error
        if not as_json:
            console.print(plain("wrote " + ", ".join(map(str, written)), most=_LINE))
    raise typer.Exit(code_of(found))


def _require_exports(
    exports: tuple[str, ...], known: Any, with_texts: set[str], *, out: Path | None, with_text: bool  # noqa: ANN401
) -> None:
    if unknown := [name for name in exports if name not in known]:
        raise ConfigError(f"--export {unknown[0]}: there are {', '.join(known)}")
    if exports and not out:
        raise ConfigError("--export needs --out, the folder to write to")
    if (secret := [name for name in exports if name in with_texts]) and not with_text:
        raise ConfigError(f"--export {secret[0]} holds prompts and answers in the clear; say so with --with-text")


def _key(variable: str) -> str:
    if not variable:
        return ""
    if not os.environ.get(variable):
        raise ConfigError(f"--api-key-env: the variable {variable} is not set")
    return os.environ[variable]
