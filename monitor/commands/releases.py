"""``alignd releases``: what is in the release store, and what of it serves."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.checkpoint import Release, find_release, import_checkpoint, release_names, verify_release
from deploy.errors import CheckpointError, DeployerUnavailable
from deploy.signing import sign_release, signature_of, verify_signature
from monitor.commands.serving import CONFIG, AsJson, ConfigFile, TargetOption, target_of, with_service
from monitor.errors import ConfigError
from monitor.settings import Settings, load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from deploy.retention import InUse
    from monitor.effect import Step
    from monitor.service import Service

__all__ = ["app"]

_FAILED = 3

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
    for row in rows:
        print(f"{row['release']:<40} {row['kind']:<8} {row['created'][:19]:<20} {row['bytes'] / 1e6:>10.1f} MB  "
              f"{'; '.join(row['notes']) or '-'}")  # fmt: skip


@app.command()
def show(release: ReleaseArg, config: ConfigFile = CONFIG) -> None:
    """Print a release's manifest as JSON: its digests and where it comes from."""
    settings = load_settings(config)
    found = _found(settings, release)
    print(json.dumps({"release": found.id, "path": str(found.path), "signed": _signed(settings, found),
                      **asdict(found.manifest)}, indent=2, default=str))  # fmt: skip


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
    for name in releases or release_names(settings.releases):
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
    """Put a release into service that was found good; `alignd deploy` measures one first."""
    from monitor.keeping import promote_by_hand

    settings = load_settings(config)
    name = target_of(settings, target)
    found = _found(settings, release)
    served = with_service(
        settings, lambda s: promote_by_hand(found.id, _step(s, name), by=getpass.getuser(), ungated=ungated)
    )
    print(f"{served.release} takes the traffic of {name}")


@app.command("roll-back")
def roll_back(config: ConfigFile = CONFIG, *, target: TargetOption = "") -> None:
    """Put the release before the present one into service, at once and whatever else is under way."""
    from monitor.keeping import roll_back_by_hand

    settings = load_settings(config)
    name = target_of(settings, target)

    async def verb(service: Service) -> list[str]:
        served = await roll_back_by_hand(_step(service, name), by=getpass.getuser())
        opened = service.store.incidents(target=name, open_only=True)
        return [served.release, *(f"; incident {i.id} is open, `alignd abort {i.id}` ends it" for i in opened)]

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
    """Remove the releases that nobody needs, and what killed imports left."""
    from monitor.keeping import sweep

    settings = load_settings(config)
    number = keep or settings.retention.keep
    done = with_service(
        settings, lambda s: sweep(s.sites, s.store, settings.releases, keep=number, dry_run=dry_run)
    )
    if as_json:
        print(json.dumps({"kept": dict(done.kept), "gone": done.gone, "dry_run": dry_run}, indent=2))
        return
    for release, why in done.kept.items():
        print(f"kept     {release}  {why}")
    for name in done.gone:
        print(f"{'would go' if dry_run else 'removed'}  {name}")


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
                folder, settings.releases, name=name, base=base, created_at=utc_now(), creator="import"
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
