"""``alignd serve``: the supervisor, its front and its admin port in one process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from deploy.checkpoint import verify_release
from deploy.durable import held
from deploy.errors import DeployError, StageError
from deploy.signing import verify_signed
from deploy.vllm.admin import admin, admin_token
from deploy.vllm.child import vllm_command
from deploy.vllm.dtype import this_dtype
from deploy.vllm.front import Front
from deploy.vllm.haproxy import HaproxyFront, steered_alone
from deploy.vllm.left_over import end_left_over, left_over
from deploy.vllm.listening import listen, quiet_server
from deploy.vllm.relay import RelayFront
from deploy.vllm.supervisor import Supervisor

__all__ = ["main", "serve"]

_HANG_SECONDS_MIN = 30.0


async def serve(supervisor: Supervisor, *, state: Path, host: str, port: int, admin_port: int) -> None:
    """Run front, admin and servers until SIGTERM or SIGINT; then drain and stop everything.

    What is left of the servers of a supervisor that was killed is ended first.

    Raises:
        StageError: A port is taken.
    """
    token = admin_token(state)
    listener = listen("127.0.0.1", admin_port, "--admin-port")
    server = quiet_server(admin(supervisor, token))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    left = asyncio.create_task(end_left_over(left_over(state / "logs")))
    tasks = [
        asyncio.create_task(work)
        for work in (
            supervisor.front.serve(host, port), server._serve(sockets=[listener]), supervisor.keep_up(), stop.wait(),
        )
    ]  # fmt: skip
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        left.cancel()
        tasks[2].cancel()
        server.should_exit = True
        await supervisor.front.aclose()
        await asyncio.gather(left, *tasks[:3], return_exceptions=True)
        await supervisor.aclose()


def main() -> None:
    """Parse the command line and serve."""
    given = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for each look at a server
    command = vllm_command(
        name=given.name, max_model_len=given.max_model_len, dtype=given.dtype or this_dtype(),
        max_num_seqs=given.max_num_seqs,
    )  # fmt: skip

    verify = partial(verify_signed, public_key=given.public_key) if given.public_key else verify_release

    async def run() -> None:
        supervisor = Supervisor(
            releases=given.releases, state=given.state, name=given.name, command=command, front=_front(given),
            window_seconds=given.window_seconds if given.one_server else None, verify=verify,
            hang_seconds=given.hang_seconds,
        )  # fmt: skip
        await serve(supervisor, state=given.state, host=given.host, port=given.port, admin_port=given.admin_port)

    try:
        given.state.mkdir(parents=True, exist_ok=True)
        with held(given.state, alone=True, what=f"state folder {given.state}"), _front_held(given):
            asyncio.run(run())
    except (DeployError, OSError) as error:
        print(f"alignd serve: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _front_held(given: argparse.Namespace) -> AbstractContextManager[None]:
    """Hold the HAProxy that is to be steered: two supervisors would each put the other's choice right."""
    if given.front == "relay" or given.haproxy_socket is None:
        return nullcontext()
    return steered_alone(given.haproxy_socket, given.haproxy_backend)


def _front(given: argparse.Namespace) -> Front:
    if given.front == "relay":
        return RelayFront()
    if given.haproxy_socket is None:
        raise StageError("--front haproxy needs --haproxy-socket, the path of the admin socket in haproxy.cfg")
    return HaproxyFront(given.haproxy_socket, backend=given.haproxy_backend)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alignd serve", description="Serve releases with vLLM on this host.")
    parser.add_argument("--releases", type=Path, required=True, help="release store")
    parser.add_argument("--state", type=Path, required=True, help="folder for desired state, token and logs")
    parser.add_argument("--name", required=True, help="served model name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="users' port; HAProxy has its own")
    parser.add_argument("--admin-port", type=int, default=8001, help="loopback port of the deployer")
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--public-key", type=Path, help="serve only releases signed with its private key (PEM)")
    parser.add_argument("--dtype", default="", help="vLLM's --dtype; empty: what this machine serves fastest")
    parser.add_argument(
        "--front", choices=("relay", "haproxy"), default="relay",
        help="what users' requests go through: this process, or an HAProxy that it steers",
    )  # fmt: skip
    parser.add_argument("--haproxy-socket", type=Path, help="HAProxy's admin socket (stats socket ... level admin)")
    parser.add_argument("--haproxy-backend", default="alignd", help="the backend to steer")
    parser.add_argument(
        "--one-server", action="store_true",
        help="memory is for one server: stop the old one before a new one starts, users get 503 meanwhile",
    )  # fmt: skip
    parser.add_argument(
        "--window-seconds", type=float, default=1800.0,
        help="with --one-server: how long a release may be staged in the old one's place before the old one returns",
    )  # fmt: skip
    parser.add_argument(
        "--hang-seconds", type=_hang_seconds, default=120.0,
        help="start the server that has the traffic afresh when it gave nobody a token for so long; 0: never",
    )  # fmt: skip
    return parser


def _hang_seconds(text: str) -> float:
    seconds = float(text)
    if seconds and not seconds >= _HANG_SECONDS_MIN:
        raise argparse.ArgumentTypeError(f"{text}: a busy server may be that slow; give 0 or {_HANG_SECONDS_MIN:g} up")
    return seconds


if __name__ == "__main__":
    main()
