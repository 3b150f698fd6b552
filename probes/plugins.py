"""Plugins: entry points, each a module with ``Options`` and ``make``. Settings say which ones may be loaded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from probes.errors import PluginError, ProbeError

__all__ = ["installed", "make_plugin", "plugin_names"]


def plugin_names(group: str) -> tuple[str, ...]:
    """List what is installed in a group, e.g. ``alignd.judges``."""
    return tuple(sorted(installed(group)))


def installed(group: str) -> Mapping[str, str]:
    """Return the modules of a group's plugins by their names."""
    return _installed(group, tuple(sys.path))


@lru_cache(maxsize=32)
def _installed(group: str, _: tuple[str, ...]) -> Mapping[str, str]:
    # Each search reads a file of every package that is installed: 10 ms, four times for each of hundreds of targets.
    return {e.name: e.value for e in entry_points(group=group)}


def make_plugin(group: str, name: str, options: Mapping[str, Any], *, where: str) -> Any:  # noqa: ANN401  (the caller knows the port)
    """Import a plugin and make its port of its options.

    Args:
        where: Key in the settings, for the message.

    Raises:
        PluginError: There is none of this name, or it (or a plugin that it is made of) refuses its options,
            or what they name can't be used.
    """
    found = installed(group)
    if name not in found:
        there = ", ".join(sorted(found)) or "none; is alignd installed?"
        raise PluginError(f"{where}: no plugin {name!r} in {group}; there are: {there}")
    module = importlib.import_module(found[name])
    try:
        made = module.Options(**options)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise PluginError(f"{where}: plugin {name} refuses its options: {faults}") from error
    try:
        return module.make(made)
    except PluginError as error:
        raise PluginError(f"{where}.options.{error}") from error
    except ProbeError as error:
        raise PluginError(f"{where}: {error}") from error
