"""``alignd stack``: files for what stands around alignd on a host, filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import StageError
from monitor.errors import ConfigError

__all__ = ["stack"]


def stack(
    folder: Annotated[Path, typer.Argument(help="Folder to write the files to; none of them may be there.")],
    *,
    name: Annotated[str, typer.Option(help="Public model name.")] = "my-model",
    host: Annotated[str, typer.Option(help="Address that users reach.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that users reach.", min=1, max=65535)] = 8000,
    upstream: Annotated[
        str, typer.Option(help="host:port of one vLLM server that stays; without it `alignd serve` says where.")
    ] = "",
    adapter: Annotated[str, typer.Option(help="Model that LiteLLM asks for, e.g. prod@0123456789ab.")] = "",
    user: Annotated[str, typer.Option(help="Account of the systemd units.")] = "alignd",
) -> None:
    """Write HAProxy, nginx, LiteLLM and systemd files whose allow-list is the supervisor's own.

    Exit code: 0 all are written, 2 one is there already, can't be written, or a value can't stand in one.
    """
    from deploy.stack.files import StackValues, write_stack

    values = StackValues(
        name=name, host=host, port=port, upstream=upstream, adapter=adapter, user=user,
    )  # fmt: skip
    try:
        for path in write_stack(folder, values):
            print(path)
    except StageError as error:
        raise ConfigError(str(error)) from error
