"""``alignd releases``: what is in the release store, and what of it serves."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.checkpoint import Release, find_release, import_checkpoint, release_names, verify_release
from deploy.errors import CheckpointError, DeployerUnavailable, Fenced, StageError
from deploy.signing import sign_release, signature_of, verify_signature
from monitor.commands.release_tables import release_lines, sweep_lines, terminal_columns
from monitor.commands.serving import CONFIG, AsJson, ConfigFile, TargetOption, target_of, with_service
from monitor.errors import ConfigError
from monitor.settings import Settings, load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from deploy.retention import InUse
    from monitor.effect import Step
    from monitor.service import Service

__all__ = ["app"]

_FAILED, _UNAVAILABLE = 3, 4

app = typer.Typer(help="Work with the release store and what of it serves.", no_args_is_help=True)
ReleaseArg = Annotated[str, typer.Argument(help="Release id, see `alignd releases list`.")]


@app.command("list")
def list_(config: ConfigFile = CONFIG, *, as_json: AsJson = False) -> None:
    """List the releases, the oldest first, and what each is to the targets."""
    settings = load_settings(config)
    uses = with_service(settings, _uses)
    rows = sorted((_row(settings, name, uses) for name in release_names(settings.releases)), key=lambda r: r["created"])
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        _say_empty(settings)
        return
    print("\n".join(release_lines(rows, columns=terminal_columns())))


@app.command()
def show(release: ReleaseArg, config: ConfigFile = CONFIG) -> None:
    """Print a release's manifest as JSON: its digests and where it comes from."""
    settings = load_settings(config)
    found = _found(settings, release)
    print(json.dumps({"release": found.id, "path": str(found.path), "signed": _signed(settings, found),
                      **asdict(found.manifest)}, indent=2, default=_plain))  # fmt: skip


@app.command()
def verify(
    releases: Annotated[list[str] | None, typer.Argument(help="Release ids; all of the store if none.")] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Compare every file with its manifest, and with its signature where the settings name a public key.

    Exit code: 0 all are whole, 3 one is not.
    """
    settings = load_settings(config)
    bad = 0
    if not (names := tuple(releases or release_names(settings.releases))):
        _say_empty(settings)
    for name in names:
        try:
            found = find_release(settings.releases, name)
            verify_release(found)
            if settings.signing.public_key and (settings.signing.required or _signed(settings, found)):
                verify_signature(found, settings.signing.public_key)
        except CheckpointError as error:
            bad += 1
            print(f"alignd: {error}", file=sys.stderr)
            continue
        print(f"{name} is whole{' and signed' if _signed(settings, found) else ''}")
    if bad:
        raise typer.Exit(_FAILED)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint or a LoRA adapter.")],
    config: ConfigFile = CONFIG,
    *,
    name: Annotated[str, typer.Option(help="Name of the release.")],
    parent: Annotated[str, typer.Option(help="Release that it was made from.")] = "",
    base: Annotated[str, typer.Option(help="Release that an adapter belongs on.")] = "",
) -> None:
    """Copy a folder into the release store, named by its content. Nothing that is served changes."""
    settings = load_settings(config)
    try:
        release = _imported(settings, folder, name=name, parent=parent, base=base)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    print(release.id)


@app.command()
def sign(
    release: ReleaseArg,
    config: ConfigFile = CONFIG,
    *,
    private_key: Annotated[
        Path | None, typer.Option(help="PEM file of an EC key; signing.private_key if not given.")
    ] = None,
) -> None:
    """Sign a release, its manifest included; a key's password comes from ALIGND_SIGNING__PASSWORD."""
    settings = load_settings(config)
    if (key := private_key or settings.signing.private_key) is None:
        raise ConfigError("no key to sign with; give --private-key or set signing.private_key")
    found, password = _found(settings, release), settings.signing.password
    try:
        sign_release(found, key, password=password.get_secret_value() if password else None)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    print(signature_of(settings.releases, found.id))


@app.command()
def promote(
    release: ReleaseArg,
    config: ConfigFile = CONFIG,
    *,
    target: TargetOption = "",
    ungated: Annotated[bool, typer.Option("--ungated", help="Promote it although it was not found good.")] = False,
) -> None:
    """Put a release into service that was found good; `alignd deploy` measures one first.

    Exit code: 0 it takes the traffic, 2 it was not found good, is not whole or not in the store, 3 it did not come up:
    what was served before still is, 4 the serving side is away, in use by another change, or under repair.
    """
    from monitor.keeping import promote_by_hand

    settings = load_settings(config)
    name = target_of(settings, target)
    found = _found(settings, release)
    with _told(name):
        served = with_service(
            settings, lambda s: promote_by_hand(found.id, _step(s, name), by=getpass.getuser(), ungated=ungated)
        )
    print(f"{served.release} takes the traffic of {name}")


@app.command("roll-back")
def roll_back(config: ConfigFile = CONFIG, *, target: TargetOption = "") -> None:
    """Put the release before the present one into service, at once and whatever else is under way.

    Exit code: 0 it takes the traffic, 3 there is none to go back to, or none comes up: what was served before still
    is, 4 the serving side is away.
    """
    from monitor.keeping import roll_back_by_hand

    settings = load_settings(config)
    name = target_of(settings, target)

    async def verb(service: Service) -> list[str]:
        served = await roll_back_by_hand(_step(service, name), by=getpass.getuser())
        opened = service.store.incidents(target=name, open_only=True)
        return [served.release, *(f"; incident {i.id} is open, `alignd abort {i.id}` ends it" for i in opened)]

    with _told(name):
        release, *notes = with_service(settings, verb)
    print(f"{release} takes the traffic of {name}{''.join(notes)}")


@app.command()
def gc(
    config: ConfigFile = CONFIG,
    *,
    keep: Annotated[int | None, typer.Option(min=2, help="Newest to keep; retention.keep if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the releases that nobody needs, and what killed imports left.

    Exit code: 0 done, or nothing to do, 2 a release of the store is damaged or can't be removed, 4 a serving side is
    away, so that nobody knows what it needs, or a release is in use. Then nothing was removed.
    """
    from monitor.keeping import sweep

    settings = load_settings(config)
    number = keep or settings.retention.keep
    if not settings.releases.is_dir():
        _say_empty(settings)
        raise typer.Exit(0)
    with _told():
        done = with_service(
            settings, lambda s: sweep(s.sites, s.store, settings.releases, keep=number, dry_run=dry_run)
        )
    if as_json:
        said = {"kept": dict(done.kept), "gone": done.gone, "dry_run": dry_run, "kept_bytes": done.kept_bytes,
                "freed_bytes": done.freed_bytes}  # fmt: skip
        print(json.dumps(said, indent=2))
        return
    print("\n".join(sweep_lines(done, dry_run=dry_run, columns=terminal_columns())))


@contextmanager
def _told(target: str = "") -> Iterator[None]:
    """End with the exit code that the commands promise, and name the target."""
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    except StageError as error:
        about = f"target {target}: " if target else ""
        print(f"alignd: {about}{error}", file=sys.stderr)
        raise typer.Exit(_UNAVAILABLE if isinstance(error, Fenced) else _FAILED) from error


def _say_empty(settings: Settings) -> None:
    print(
        f"alignd: no releases in {settings.releases}; `alignd deploy FOLDER` measures and serves one, "
        "`alignd releases import FOLDER --name NAME` only takes it in",
        file=sys.stderr,
    )


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _imported(settings: Settings, folder: Path, *, name: str, parent: str, base: str) -> Release:
    from deploy.adapter import import_adapter
    from deploy.retention import using_store
    from deploy.weights import is_adapter
    from monitor.bootstrap import utc_now
    from monitor.reaching import signer_of

    settings.releases.mkdir(parents=True, exist_ok=True)
    with using_store(settings.releases):
        if is_adapter(folder):
            release = import_adapter(
                folder, settings.releases, name=name, base=base, parent=parent, created_at=utc_now(), creator="import"
            )
        else:
            release = import_checkpoint(folder, settings.releases, name=name, created_at=utc_now(), parent=parent)
        signer_of(settings.signing)(release)
    return release


def _found(settings: Settings, release: str) -> Release:
    try:
        return find_release(settings.releases, release)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error


def _signed(settings: Settings, release: Release) -> bool:
    return signature_of(settings.releases, release.id).is_file()


def _step(service: Service, target: str) -> Step:
    from monitor.effect import Step

    return Step(site=service.sites[target], store=service.store, say=lambda _stage, _share: None)


async def _uses(service: Service) -> dict[str, InUse | str]:
    """Say what each target needs, or why that is not known."""
    from monitor.keeping import in_use

    found: dict[str, InUse | str] = {}
    for name, site in service.sites.items():
        try:
            found[name] = await in_use(site, service.store)
        except DeployerUnavailable as error:
            found[name] = str(error)
            print(f"alignd: target {name}: {error}", file=sys.stderr)
    return found


def _row(settings: Settings, name: str, uses: dict[str, InUse | str]) -> dict[str, Any]:
    try:
        release = find_release(settings.releases, name)
    except CheckpointError as error:
        return {"release": name, "kind": "damaged", "created": "", "bytes": 0, "parent": "", "creator": "",
                "notes": [str(error)]}  # fmt: skip
    notes = ["signed"] if _signed(settings, release) else []
    for target, use in uses.items():
        if not isinstance(use, str):
            parts = {"active": (use.active,), "good": use.good, "warm": use.warm, "open incident": use.incidents}
            notes += [f"{target}: {word}" for word, ids in parts.items() if name in ids]
    m = release.manifest
    return {
        "release": name, "kind": m.kind.value, "created": m.created_at.isoformat(), "parent": m.parent,
        "bytes": sum(f.size for f in m.files), "creator": m.creator, "incident": m.incident, "notes": notes,
    }  # fmt: skip
