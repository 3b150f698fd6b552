"""Plugins that the settings name, their faults told as faults of the settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from monitor.errors import PluginError
from probes import errors, plugins
from probes.plugins import installed, plugin_names

__all__ = ["make_plugin", "plugin_names", "takes_option"]


def make_plugin(group: str, name: str, options: Mapping[str, Any], *, where: str) -> Any:  # noqa: ANN401  (the caller knows the port)
    """Import a plugin and make its port of its options.

    Args:
        where: Key in the settings, for the message.

    Raises:
        PluginError: There is none of this name, or it refuses its options.
    """
    try:
        return plugins.make_plugin(group, name, options, where=where)
    except errors.PluginError as error:
        raise PluginError(str(error)) from error


def takes_option(group: str, name: str, option: str) -> bool:
    """Whether a plugin has an option of this name; ``False`` where there is no such plugin."""
    module = installed(group).get(name)
    return module is not None and option in importlib.import_module(module).Options.model_fields
