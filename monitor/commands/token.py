"""``alignd token``: make what the HTTP API is called with."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from monitor.api_settings import Scope
from monitor.audit import NOBODYS
from monitor.errors import ConfigError
from monitor.web.access import digest_of, new_token

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_DAYS_MAX = 36_500
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")


@app.callback()
def token() -> None:
    """Make tokens of the HTTP API."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose it is, e.g. oncall; stands in the audit log.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; once for each. read if not given.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=_DAYS_MAX, help="Days until it ends; else never.")] = None,
) -> None:
    """Draw a token, and print it once with the lines for the settings. It is kept nowhere."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name {name!r}: use lower-case letters, digits, dots and dashes, at most 41, e.g. oncall")
    if name in NOBODYS:
        raise ConfigError(f"name {name!r}: the audit log calls no person so; give another, e.g. oncall")
    drawn, scopes = new_token(), ", ".join(dict.fromkeys(s.value for s in scope or [Scope.READ]))
    ends = f", expires: {datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" if days else ""
    print(f"{drawn}\n")
    print("It is shown this once. Under api.tokens in the configuration file goes:")
    print(f'- {{name: {name}, sha256: "{digest_of(drawn)}", scopes: [{scopes}]{ends}}}')
