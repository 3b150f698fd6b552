"""``alignd deploy``: the front door of ordinary releases, for people and pipelines."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from deploy.errors import CheckpointError, StageError
from monitor.commands.release_tables import gate_lines, terminal_columns
from monitor.commands.serving import CONFIG, AsJson, ConfigFile, TargetOption, target_of, with_service
from monitor.errors import ConfigError
from monitor.settings import Settings, load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.deploying import Deployment

__all__ = ["deploy"]

_FAILED, _UNAVAILABLE = 3, 4
_STEP = 0.1


def deploy(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a checkpoint or a LoRA adapter, or a release id.")],
    config: ConfigFile = CONFIG,
    *,
    target: TargetOption = "",
    name: Annotated[str, typer.Option(help="Name of the release; the target's if not given.")] = "",
    base: Annotated[str, typer.Option(help="Release that an adapter belongs on; the active one if not given.")] = "",
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Put it into service if it passes; else only say.")
    ] = True,
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option(help="Folder for a page and a JSON file of what was found.")] = None,
) -> None:
    """Measure a release by the target's own gates before it serves, and put it into service if it passes.

    Exit code: 0 it passed, 2 the checkpoint or the settings can't be used, 3 it failed a gate or did not come up: what
    was served before still is, 4 serving side, judge or target not available, 5 not enough answers to say.
    """
    settings = load_settings(config)
    chosen = target_of(settings, target)
    _require_controlled(settings, chosen)
    try:
        done = _deployed(settings, chosen, checkpoint, name=name or chosen, base=base, promote=promote)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    except StageError as error:
        _end(str(error), _UNAVAILABLE)
    if report:
        _write(done, report)
    _say(done, as_json=as_json)
    if done.why:
        raise typer.Exit(_FAILED)


def _deployed(
    settings: Settings, target: str, checkpoint: str, *, name: str, base: str, promote: bool
) -> Deployment:
    from monitor.deploying import Asked

    asked = Asked(checkpoint=checkpoint, name=name, by=getpass.getuser(), promote=promote, base=base)
    said: dict[str, float] = {}

    def say(stage: str, share: float) -> None:
        if share >= said.get(stage, -1.0) + _STEP:
            said[stage] = share
            print(f"{share:5.0%}  {stage}", file=sys.stderr)

    return with_service(settings, lambda service: service.deploy(target, asked, say))


def _require_controlled(settings: Settings, target: str) -> None:
    if any(t.name == target and t.deployer.plugin == "external" for t in settings.targets):
        raise ConfigError(
            f"target {target}: what it serves is not alignd's to change; serve it with `alignd serve` and set "
            "deployer: vllm-process, or `alignd probe` it where it is"
        )


def _write(done: Deployment, folder: Path) -> None:
    from monitor import __version__
    from monitor.bootstrap import utc_now
    from remediation.report import PatchReport, Provenance, write_report

    options: dict[str, str | int | float | bool] = {"replaces": done.replaces, "parent": done.release.manifest.parent}
    found = PatchReport(
        provenance=Provenance(
            recipe="", target=done.target, reference=done.last_good, candidate=done.release.id, options=options,
            candidate_digest=done.release.manifest.digest, made_with=f"alignd {__version__}",
        ),
        patch=None, verification=done.held.verification.to_json() if done.held else None, profiles=done.profiles,
        why=done.why, written_at=utc_now(),
    )  # fmt: skip
    try:
        for path in write_report(found, folder, done.release.id.replace("@", "-")):
            print(path, file=sys.stderr)
    except OSError as error:
        raise ConfigError(f"{folder}: the report can't be written ({error.strerror}); give another folder") from error


def _say(done: Deployment, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
        return
    gates: list[dict[str, Any]] = done.held.verification.to_json()["gates"] if done.held else []
    for line in gate_lines(gates, columns=terminal_columns()):
        print(line)
    there = done.release.id == done.replaces
    stays = "it is in service already" if there else f"{done.replaces or 'nothing'} stays in service"
    words = {
        "promoted": "is in service already, and passed" if there else f"took the traffic in {done.seconds:.2f} s",
        "passed": f"passed; {stays}", "failed": f"failed: {done.why}\n{stays}",
    }  # fmt: skip
    print(f"{done.release.id} {words[done.outcome.value]}")


def _end(message: str, code: int) -> NoReturn:
    print(f"alignd: {message}", file=sys.stderr)
    raise typer.Exit(code)
