"""Whom a channel trusts to be who it says it is."""

from __future__ import annotations

import ssl
from pathlib import Path

from probes.errors import PluginError

__all__ = ["trusting"]


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return what verifies certificates: by a file of authorities, or the system's where there is none.

    Raises:
        PluginError: The file can't be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise PluginError(f"ca_file: {ca_file} can't be used ({error})") from error
