"""The supervisor: keeps vLLM servers up, one of them behind the front, and does what the deployer asks.

It lives apart from the daemon, so a daemon that dies changes nothing of what is served. What is to be served is
written down before it is done and asserted again at the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette

from deploy.checkpoint import find_release, verify_release
from deploy.errors import DeployError, StageError
from deploy.vllm.admin import admin, admin_token
from deploy.vllm.child import Child, ChildCommand, start_child, this_dtype, vllm_command
from deploy.vllm.front import Front

__all__ = ["Supervisor", "main", "serve"]

log = logging.getLogger("alignd.supervisor")

_BACKOFF_SECONDS_MAX = 60.0
_METRICS_SECONDS = 2.0


class Supervisor:
    """Owns the server processes. One change at a time; reading the state never waits."""

    def __init__(
        self, *, releases: Path, state: Path, name: str, command: ChildCommand, start_seconds: float = 600.0
    ) -> None:
        """Take the release store, a folder for state and logs, the served name and how to start a server."""
        self._releases = releases
        self._state = state
        self._name = name
        self._command = command
        self._start_seconds = start_seconds
        self._children: dict[str, Child] = {}
        self._desired = self._read_desired()
        self._lock = asyncio.Lock()

    @property
    def active(self) -> Child | None:
        """The server that takes traffic, if it runs."""
        child = self._children.get(self._desired)
        return child if child and child.running else None

    def state(self) -> dict[str, object]:
        """Say what is up, in plain values."""
        active = self.active
        return {
            "active": active.release.id if active else "",
            "desired": self._desired,
            "up": [
                {"release": c.release.id, "endpoint": c.endpoint, "takes_traffic": c is active}
                for c in self._children.values()
                if c.running
            ],
        }

    async def stage(self, release_id: str) -> dict[str, object]:
        """Bring a release up without traffic.

        Raises:
            CheckpointError: Its files are not what the manifest says.
            StageError: It did not come up.
        """
        async with self._lock:
            await self._up(release_id)
        return self._served(release_id)

    async def promote(self, release_id: str) -> dict[str, object]:
        """Give a release all new traffic; the one before stays up.

        A release that is up takes over at once, however long another one's staging takes.
        """
        up = self._children.get(release_id)
        if not (up and up.running):
            async with self._lock:
                await self._up(release_id)
        self._write_desired(release_id)
        log.info("promoted release %s", release_id)
        return self._served(release_id)

    async def retire(self, release_id: str) -> dict[str, object]:
        """Drain and stop a release.

        Raises:
            StageError: It takes traffic.
        """
        async with self._lock:
            if release_id == self._desired:
                raise StageError(f"release {release_id} takes traffic; promote another one first")
            if child := self._children.pop(release_id, None):
                await child.stop(drain_seconds=60.0)
        return self.state()

    async def metrics(self) -> str | None:
        """Return the active server's own metrics; ``None`` where there is none, or it does not show them."""
        if (child := self.active) is None:
            return None
        try:
            async with httpx.AsyncClient(timeout=_METRICS_SECONDS) as http:
                page = await http.get(f"http://127.0.0.1:{child.port}/metrics")
        except httpx.HTTPError:
            return None
        return page.text if page.status_code == httpx.codes.OK else None

    async def keep_up(self) -> None:
        """Bring the desired release up now and whenever its server dies, with growing pauses."""
        pause = 1.0
        while True:
            await self._bury()
            if self._desired and not self.active:
                try:
                    async with self._lock:
                        if not self.active:
                            await self._up(self._desired)
                    pause = 1.0
                except (DeployError, OSError) as error:
                    log.error("restart_failed %s", error)
                    pause = min(pause * 2, _BACKOFF_SECONDS_MAX)
            await asyncio.sleep(pause if self._desired and not self.active else 0.5)

    async def aclose(self) -> None:
        """Stop all servers."""
        async with self._lock:
            await asyncio.gather(*(c.stop(drain_seconds=30.0) for c in self._children.values()))
            self._children.clear()

    async def _up(self, release_id: str) -> None:
        await self._bury()
        if release_id in self._children:
            return
        release = find_release(self._releases, release_id)
        await asyncio.to_thread(verify_release, release)
        self._children[release_id] = await start_child(
            release, command=self._command, name=self._name, logs=self._state / "logs",
            timeout_seconds=self._start_seconds,
        )  # fmt: skip

    async def _bury(self) -> None:
        """Forget servers that died, and end what they left behind: it still holds their memory."""
        for child in [c for c in self._children.values() if not c.running]:
            log.warning("died release %s, exit code %s", child.release.id, child.process.returncode)
            await child.stop(drain_seconds=0.0)
            if self._children.get(child.release.id) is child:
                del self._children[child.release.id]

    def _served(self, release_id: str) -> dict[str, object]:
        child = self._children[release_id]
        return {"release": release_id, "endpoint": child.endpoint, "takes_traffic": child is self.active}

    def _read_desired(self) -> str:
        try:
            return str(json.loads((self._state / "desired.json").read_text())["active"])
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError) as error:
            raise StageError(
                f"{self._state / 'desired.json'} is damaged; delete it, start again and promote a release"
            ) from error

    def _write_desired(self, release_id: str) -> None:
        scratch = self._state / "desired.json.partial"
        with scratch.open("w") as out:
            json.dump({"active": release_id}, out)
            out.flush()
            os.fsync(out.fileno())
        scratch.rename(self._state / "desired.json")
        self._desired = release_id


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
    parser.add_argument("--dtype", default="", help="vLLM's --dtype; empty: what this machine serves fastest")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for each request of the users
    command = vllm_command(
        name=given.name, max_model_len=given.max_model_len, dtype=given.dtype or this_dtype(),
        max_num_seqs=given.max_num_seqs,
    )  # fmt: skip

    async def run() -> None:
        supervisor = Supervisor(releases=given.releases, state=given.state, name=given.name, command=command)
        await serve(supervisor, state=given.state, host=given.host, port=given.port, admin_port=given.admin_port)

    try:
        given.state.mkdir(parents=True, exist_ok=True)
        asyncio.run(run())
    except (DeployError, OSError) as error:
        print(f"alignd serve: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
