"""``alignd reproduce``: the published tables for a checkpoint of one's own, one row at a time."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.durable import write_whole
from monitor.commands.options import options_by_name
from monitor.errors import ConfigError
from remediation.patch import DEVICE

if TYPE_CHECKING:  # so that `--help` stays quick
    from remediation.reproduce.folder import ReproduceFolder
    from remediation.reproduce.plan import ReproduceSettings, Row, RowKey

__all__ = ["reproduce"]

_CRASH, _USAGE, _STOPPED = 1, 2, 130
_STEP = 0.1
"""Share of a row after which progress is told again."""
_DEVICE = re.compile(rf"auto|{DEVICE}")
_WHAT, _ASKED, _WHERE = "What runs", "What is asked", "Where"


def reproduce(
    model: Annotated[Path, typer.Argument(help="Folder of the aligned checkpoint.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of rows, tables and plot; a run that was killed goes on there.")],
    attacks: Annotated[str, typer.Option(help="Attacks, separated by commas; all if not given.",
                                         rich_help_panel=_WHAT)] = "",
    recipes: Annotated[str, typer.Option(help="Recipes, separated by commas; all that are installed if not given.",
                                         rich_help_panel=_WHAT)] = "",
    recipe_options: Annotated[str, typer.Option(help="Options of recipes by name, as JSON.",
                                                rich_help_panel=_WHAT)] = "{}",
    seeds: Annotated[int, typer.Option(min=1, help="Drifted checkpoints of each attack.", rich_help_panel=_WHAT)] = 1,
    suite: Annotated[list[str] | None, typer.Option(help="Harmful requests: a built-in name or a file; again for more.",
                                                    rich_help_panel=_ASKED)] = None,
    benign: Annotated[list[str] | None, typer.Option(help="Harmless requests, the same way; a file's questions are "
                                                     "asked as orders too.", rich_help_panel=_ASKED)] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="Task, or task=FILE: sql, gsm8k=test.jsonl; again for more.",
                                                    rich_help_panel=_ASKED)] = None,
    task_options: Annotated[str, typer.Option(help="Options of tasks by name, as JSON.",
                                              rich_help_panel=_ASKED)] = "{}",
    judges: Annotated[str, typer.Option(help="Further judges with their options by name, as JSON, e.g. "
                                        '{"harmbench-classifier": {"endpoint": …, "model": …}}.',
                                        rich_help_panel=_ASKED)] = "{}",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer to a harmful request.",
                                            rich_help_panel=_ASKED)] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts of each suite and task; all if not given.",
                                              rich_help_panel=_ASKED)] = None,
    task_limit: Annotated[int | None, typer.Option(min=1, help="Questions of each task, in place of --limit.",
                                                   rich_help_panel=_ASKED)] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …, or auto for a model spread over several GPUs.",
                                        rich_help_panel=_WHERE)] = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="Prompts in one forward pass.", rich_help_panel=_WHERE)] = 64,
    again: Annotated[bool, typer.Option("--again", help="Make rows that failed once more.")] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Show what would run and what is done, and run nothing.")]
    = False,
) -> None:  # fmt: skip
    """Measure a model before and after each recipe, drifted by each published attack."""
    from remediation.errors import ReproduceError
    from remediation.reproduce.folder import ReproduceFolder
    from remediation.reproduce.resolved import resolved

    settings = _settings(
        model=model.resolve(), attacks=_names(attacks), recipes=_names(recipes) or _installed(), seeds=seeds,
        recipe_options=options_by_name(recipe_options, "--recipe-options"), suites=_sources(suite),
        benign=_sources(benign), tasks=_tasks(tasks, options_by_name(task_options, "--task-options")),
        judges=options_by_name(judges, "--judges"), harm_tokens=max_tokens, limit=limit, task_limit=task_limit,
        device=device, batch=batch,
    )  # fmt: skip
    folder = ReproduceFolder(out.resolve())
    try:
        _require_usable(settings)
        folder.require_same(settings)
        settings = resolved(settings)
        if only_list:
            _list(folder, settings)
            return
        _run(folder, settings, again=again)
    except ReproduceError as error:
        raise ConfigError(str(error)) from error
    except KeyboardInterrupt:
        print(f"\nalignd: stopped; what is done stands in {out}, and the same command goes on", file=sys.stderr)
        raise typer.Exit(_STOPPED) from None


def _run(folder: ReproduceFolder, settings: ReproduceSettings, *, again: bool) -> None:
    from remediation.reproduce.run import run_rows

    signal.signal(signal.SIGTERM, _interrupt)
    told: tuple[str, float] = ("", 0.0)

    def say(stage: str, share: float) -> None:
        nonlocal told
        if stage != told[0] or share >= told[1] + _STEP:
            told = stage, share
            print(f"  {share:4.0%} {stage}", file=sys.stderr, flush=True)

    def on_row(row: Row) -> None:
        _write(folder, settings)
        how = f"failed: {row.error}" if row.error else f"{row.seconds:.1f} s, {_asr(row)}"
        print(f"{row.key.name}: {how}", flush=True)

    if anew := folder.outdated(settings):
        print(f"made with other options or defaults, or on another device, and so made anew: {', '.join(anew)}",
              file=sys.stderr)  # fmt: skip
    run_rows(folder, settings, on_row=on_row, say=say, again=again)
    _write(folder, settings)
    print(f"wrote {', '.join(str(folder.path / f'tables.{e}') for e in ('csv', 'md', 'svg'))}")


def _interrupt(number: int, frame: object) -> None:
    """End by the same way as Ctrl-C, so that the child ends first."""
    del number, frame
    raise KeyboardInterrupt


def _asr(row: Row) -> str:
    if row.figures is None:
        return ""
    values = {j: row.figures.asr(j).value for j in dict.fromkeys(h.judge for h in row.figures.harm)}
    return "ASR " + ", ".join(f"{'too much missing' if v is None else f'{v:.2f}'} ({j})" for j, v in values.items())


def _write(folder: ReproduceFolder, settings: ReproduceSettings) -> None:
    from monitor.commands.reproduce_svg import reproduce_svg
    from remediation.reproduce.tables import csv_of, markdown_of

    rows, model = folder.shown(settings), settings.model.name
    planned = len(_keys(settings, rows))
    texts = {
        "csv": csv_of(rows, model=model), "md": markdown_of(rows, model=model, planned=planned),
        "svg": reproduce_svg(rows, model=model),
    }  # fmt: skip
    for ending, words in texts.items():
        try:
            write_whole(folder.path / f"tables.{ending}", words)
        except OSError as error:
            raise ConfigError(
                f"--out: {folder.path} can't be written ({error.strerror}); free space, and the same command goes on"
            ) from error


def _keys(settings: ReproduceSettings, rows: Sequence[Row]) -> list[RowKey]:
    """List the rows that are asked for, and after them those that earlier starts made."""
    from remediation.reproduce.plan import plan

    asked = plan(settings.attacks, settings.recipes, settings.seeds)
    return list(dict.fromkeys((*asked, *(row.key for row in rows))))


def _list(folder: ReproduceFolder, settings: ReproduceSettings) -> None:
    from remediation.reproduce.same import asked_of, require_same_asked

    rows = folder.shown(settings)
    require_same_asked(folder.path, rows, asked_of(settings))
    states = dict.fromkeys(folder.outdated(settings), "anew")
    states |= {row.key.name: "failed" if row.error else "done" for row in rows}
    for key in _keys(settings, rows):
        print(f"{states.get(key.name, 'to do'):6} {key.name}")


def _settings(**given: Any) -> ReproduceSettings:  # noqa: ANN401  (pydantic checks them)
    from pydantic import ValidationError

    from remediation.fixtures import ATTACKS
    from remediation.reproduce.plan import ReproduceSettings

    known = [a.name for a in ATTACKS]
    if unknown := [a for a in given["attacks"] if a not in known]:
        raise ConfigError(f"--attacks {unknown[0]}: there are {', '.join(known)}")
    installed = (*_installed(), "none")
    if unknown := [r for r in given["recipes"] if r.partition("@")[0] not in installed]:
        raise ConfigError(f"--recipes {unknown[0]}: there are {', '.join(installed)}")
    if unknown := [r for r in given["recipe_options"] if r not in given["recipes"]]:
        raise ConfigError(
            f"--recipe-options {unknown[0]}: no such recipe runs; there are {', '.join(given['recipes'])}"
        )
    if not _DEVICE.fullmatch(given["device"]):
        raise ConfigError(f"--device {given['device']}: there are cpu, cuda, cuda:1 …, and auto")
    try:
        return ReproduceSettings(**{n: v for n, v in given.items() if v not in (None, ())})
    except ValidationError as error:  # of what is given freely, only the names of variants are left
        raise ConfigError(
            f"--recipes {error.errors()[0]['input']}: what follows the @ of a variant is letters, digits, '.', '_' and "
            "'-'"
        ) from error


def _require_usable(settings: ReproduceSettings) -> None:
    """Find out what can't be used before the first row, not in the last.

    Raises:
        CheckpointError: The model's folder is no checkpoint.
        ProbeError: A suite can't be used.
        PluginError: Nor can a task or judge.
    """
    from deploy.checkpoint import check_checkpoint
    from monitor.plugins import make_plugin
    from probes.behavior import SuiteKind
    from probes.suites.sources import load_suite

    check_checkpoint(settings.model)
    for source in settings.suites:
        load_suite(source, SuiteKind.HARM)
    for source in settings.benign:
        load_suite(source, SuiteKind.BENIGN)
    for name, options in settings.tasks.items():
        make_plugin("alignd.tasks", name, options, where=f"--tasks {name}")
    for name, options in settings.judges.items():
        make_plugin("alignd.judges", name, options, where=f"--judges {name}")


def _installed() -> tuple[str, ...]:
    from monitor.plugins import plugin_names

    return plugin_names("alignd.patchers")


def _names(given: str) -> tuple[str, ...]:
    return tuple(n.strip() for n in given.split(",") if n.strip())


def _sources(given: list[str] | None) -> tuple[str, ...] | None:
    """Make paths absolute, so that a run goes on from any folder."""
    from probes.suites.sources import names_a_file

    return None if given is None else tuple(str(Path(s).resolve()) if names_a_file(s) else s for s in given)


def _tasks(given: list[str] | None, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
    if given is None and not options:
        return None
    named: dict[str, str] = {}
    for name, _, file in (one.partition("=") for one in given or ["sql"]):
        if name in named:
            raise ConfigError(f"--tasks {name}: given twice; a run asks each task of one file")
        named[name] = file
    if unknown := [name for name in options if name not in named]:
        raise ConfigError(f"--task-options {unknown[0]}: no such task is asked; there are {', '.join(named)}")
    return {
        name: {**options.get(name, {}), **({"path": str(Path(file).resolve())} if file else {})}
        for name, file in named.items()
    }
