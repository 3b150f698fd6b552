"""``alignd version`` and ``alignd --version``."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor import __version__

__all__ = ["root", "version"]


def version() -> None:
    """Print the version."""
    print(__version__)


def _print_and_end(given: bool) -> None:
    if given:
        version()
        raise typer.Exit


def root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_and_end)
    ] = False,
) -> None:
    """Keeps served language models safe: watches for drift, rolls back, repairs and redeploys."""
