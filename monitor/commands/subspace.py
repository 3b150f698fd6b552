"""``alignd subspace``: a living sketch of where a model's safety gradients lie, and what it covers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from monitor.errors import ConfigError

if TYPE_CHECKING:  # so that `--help` stays quick
    from remediation.living_subspace import SubspaceSummary

__all__ = ["app"]

_SKETCH = Path("subspace")
_CRASH = 1

app = typer.Typer(
    help="Sketch where a model's safety gradients lie, over time and categories.", no_args_is_help=True
)
Sketch = Annotated[Path, typer.Option(help="Folder of the sketch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

console = Console(highlight=False)


@app.command()
def update(
    model: Annotated[Path, typer.Argument(metavar="MODEL_FOLDER", help="Folder of the checkpoint.")],
    *,
    sketch: Sketch = _SKETCH,
    suite: Annotated[str, typer.Option(help="Harmful requests: dsafe, or the path of a file.")] = "dsafe",
    category: Annotated[list[str] | None, typer.Option(help="Only this category of the suite; may be given again. One "
                                                            "that is new to the sketch is measured first.")] = None,
    per_category: Annotated[int, typer.Option(min=1, max=1000, help="Requests of each category to sketch; half as many "
                                                                    "others are measured.")] = 4,
    rank: Annotated[int | None, typer.Option(min=1, max=64, help="Directions on each side; 16, or those of the "
                                                                 "sketch.")] = None,
    keep: Annotated[float, typer.Option(min=0.0, max=1.0, help="What earlier gradients weigh from now on; 1 forgets "
                                                               "nothing.")] = 1.0,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Sketch a few refused requests of each category, measure others beside controls, and keep the result."""
    from remediation.errors import SketchError, WorkerDied
    from remediation.living_subspace import UpdateRequest, run_update

    request = UpdateRequest(
        model=model.absolute(), sketch=sketch, at=datetime.now(UTC), suite=suite, categories=tuple(category or ()),
        per_category=per_category, rank=rank, keep=keep,
    )  # fmt: skip
    try:
        summary = run_update(request, _say)
    except SketchError as error:
        raise ConfigError(str(error)) from error
    except WorkerDied as error:
        print(f"alignd: {error}", file=sys.stderr)
        raise typer.Exit(_CRASH) from error
    _print(summary, as_json=as_json)


@app.command()
def show(
    *,
    sketch: Sketch = _SKETCH,
    as_json: AsJson = False,
    svg: Annotated[Path | None, typer.Option(help="File for the plot.")] = None,
    html: Annotated[Path | None, typer.Option(help="File for a page with the plot and the tables.")] = None,
) -> None:
    """Show what the sketch holds of each category beside its controls, how it drifted, and what was new to it."""
    from monitor.commands.subspace_svg import subspace_html, subspace_svg
    from remediation.errors import SketchError
    from remediation.living_subspace import read_summary

    try:
        summary = read_summary(sketch)
    except SketchError as error:
        raise ConfigError(str(error)) from error
    for option, file, draw in (("--svg", svg, subspace_svg), ("--html", html, subspace_html)):
        if file:
            _write(option, file, draw(summary))
    _print(summary, as_json=as_json)


def _print(summary: SubspaceSummary, *, as_json: bool) -> None:
    from monitor.commands.subspace_tables import subspace_tables, subspace_words

    if as_json:
        print(summary.model_dump_json(indent=2))
        return
    console.print(*subspace_tables(summary), sep="\n")
    for sentence in subspace_words(summary):
        console.print(sentence, soft_wrap=True, markup=False)


def _say(stage: str, share: float) -> None:
    print(f"{share:5.0%}  {stage}", file=sys.stderr)


def _write(option: str, file: Path, drawn: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option}: {file} can't be written ({error.strerror}); give another file") from error
