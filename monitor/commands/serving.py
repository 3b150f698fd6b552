"""What the commands that change what is served have in common."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from monitor.errors import ConfigError, unknown_target
from monitor.plugins import takes_option
from monitor.settings import Settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.service import Service

__all__ = ["CONFIG", "AsJson", "ConfigFile", "TargetOption", "borrowing", "target_of", "with_service"]

CONFIG = Path("alignd.yaml")
ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TargetOption = Annotated[str, typer.Option(help="Target; may be left out where there is one.")]
T = TypeVar("T")


def with_service(settings: Settings, verb: Callable[[Service], Awaitable[T]]) -> T:
    """Make the service, do something with it and close it; changes are made in the daemon's name."""

    async def run() -> T:
        service: Service = importlib.import_module("monitor.bootstrap").build(borrowing(settings))
        try:
            return await verb(service)
        finally:
            await service.aclose()

    return asyncio.run(run())


def borrowing(settings: Settings) -> Settings:
    """Let deployers act by the fence of whoever holds it: a person's command must not lock the daemon out."""
    targets = []
    for target in settings.targets:
        plugin = target.deployer
        if takes_option("alignd.deployers", plugin.plugin, "fence"):
            plugin = plugin.model_copy(update={"options": {**plugin.options, "fence": "borrow"}})
        targets.append(target.model_copy(update={"deployer": plugin}))
    return settings.model_copy(update={"targets": tuple(targets)})


def target_of(settings: Settings, name: str) -> str:
    """Return the target that is meant.

    Raises:
        ConfigError: There is none of this name, or there are several and none is named.
    """
    names = [t.name for t in settings.targets]
    if not name and len(names) == 1:
        return names[0]
    if not name:
        raise ConfigError(f"--target is needed; there are: {', '.join(names)}")
    if name not in names:
        raise unknown_target(name, names)
    return name
