"""``alignd serve``: the supervisor, its front and its admin port in one process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from deploy.checkpoint import verify_release
from deploy.errors import DeployError, StageError
from deploy.signing import verify_signed
from deploy.vllm.admin import admin, admin_token
from deploy.vllm.child import this_dtype, vllm_command
from deploy.vllm.front import Front
from deploy.vllm.supervisor import Supervisor

__all__ = ["main", "serve"]


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Leave the signals to ``serve``."""


async def serve(supervisor: Supervisor, *, state: Path, host: str, port: int, admin_port: int) -> None:
    """Run front, admin and servers until SIGTERM or SIGINT; then drain and stop everything.

    Raises:
        StageError: A port is taken.
    """
    front = Front(lambda: supervisor.active)
    token = admin_token(state)
    listeners = [_listen(host, port, "--port"), _listen("127.0.0.1", admin_port, "--admin-port")]
    servers = [_server(front.app), _server(admin(supervisor, token))]
    stop = asyncio.Event()
    tasks = [asyncio.create_task(s._serve(sockets=[at])) for s, at in zip(servers, listeners, strict=True)]
    keeper = asyncio.create_task(supervisor.keep_up())
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    await stop.wait()
    keeper.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks, keeper, return_exceptions=True)
    await supervisor.aclose()
    await front.aclose()


def _server(app: Starlette) -> _Server:
    return _Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=60)
    )


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise StageError(f"{host}:{port} can't be taken ({error}); give {option} a free one") from error


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="alignd serve", description="Serve releases with vLLM on this host.")
    parser.add_argument("--releases", type=Path, required=True, help="release store")
    parser.add_argument("--state", type=Path, required=True, help="folder for desired state, token and logs")
    parser.add_argument("--name", required=True, help="served model name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="users' port")
    parser.add_argument("--admin-port", type=int, default=8001, help="loopback port of the deployer")
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--public-key", type=Path, help="serve only releases signed with its private key (PEM)")
    parser.add_argument("--dtype", default="", help="vLLM's --dtype; empty: what this machine serves fastest")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for each request of the users
    command = vllm_command(
        name=given.name, max_model_len=given.max_model_len, dtype=given.dtype or this_dtype(),
        max_num_seqs=given.max_num_seqs,
    )  # fmt: skip

    verify = partial(verify_signed, public_key=given.public_key) if given.public_key else verify_release

    async def run() -> None:
        supervisor = Supervisor(
            releases=given.releases, state=given.state, name=given.name, command=command, verify=verify
        )
        await serve(supervisor, state=given.state, host=given.host, port=given.port, admin_port=given.admin_port)

    try:
        given.state.mkdir(parents=True, exist_ok=True)
        asyncio.run(run())
    except (DeployError, OSError) as error:
        print(f"alignd serve: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
