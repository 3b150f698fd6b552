"""A supervisor of real vLLM servers, run as its own process on a store of two tiny releases."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from deploy.checkpoint import Release, import_checkpoint
from deploy.errors import DeployerUnavailable
from deploy.vllm.child import free_port
from deploy.vllm.process import Options, VllmProcessDeployer
from tests.processes import children_of, cmdline, in_session, shared_memory_of
from tests.tiny import served_checkpoint

__all__ = ["NAME", "Host", "body", "status", "until"]

ROOT = Path(__file__).resolve().parents[1]
NAME = "tiny"
START_SECONDS = 300.0


async def until(said: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait for something, and no longer than this."""
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.1)


@dataclass
class Host:
    """The process, its ports, and all that its servers ever held.

    Attributes:
        sessions: Session of each server that was seen; its processes stay in it, whoever their parent is.
        shared: Shared memory that they had mapped.
        options: Further options of `alignd serve`.
    """

    folder: Path
    a: Release
    b: Release
    port: int
    admin_port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    sessions: set[int] = field(default_factory=set)
    shared: set[Path] = field(default_factory=set)

    @staticmethod
    def make(folder: Path) -> Host:
        store, now = folder / "releases", datetime.now(UTC)
        a, b = (
            import_checkpoint(served_checkpoint(folder / name, seed=seed), store, name=name, created_at=now)
            for seed, name in enumerate(("a", "b"))
        )
        (folder / "state").mkdir()
        return Host(folder=folder, a=a, b=b, port=free_port(), admin_port=free_port())

    @property
    def url(self) -> str:
        """The front."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def deployer(self) -> VllmProcessDeployer:
        token = self.folder / "state" / "admin-token"
        return VllmProcessDeployer(
            Options(
                admin_url=f"http://127.0.0.1:{self.admin_port}", token_file=token, timeout_seconds=START_SECONDS + 60
            )
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def start(self) -> subprocess.Popen[bytes]:
        """Start the supervisor unless it runs, and wait until its admin port answers."""
        if self.process is None or self.process.poll() is not None:
            command = [
                sys.executable, "-m", "deploy.vllm.serve", "--releases", str(self.folder / "releases"),
                "--state", str(self.folder / "state"), "--name", NAME, "--port", str(self.port),
                "--admin-port", str(self.admin_port), "--dtype", "float32", "--max-model-len", "1024", *self.options,
            ]  # fmt: skip
            # What opens admin routes in vLLM must not get through to it.
            env = {**os.environ, "VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
            with (self.folder / "log").open("ab") as out:
                self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
            end = time.monotonic() + 60
            while not await self._answers():
                assert self.process.poll() is None, f"the supervisor ended: {self.log[-1000:]}"
                assert time.monotonic() < end, f"the supervisor does not answer: {self.log[-1000:]}"
                await asyncio.sleep(0.1)
        return self.process

    async def serve(self, release: Release) -> None:
        """Have this release active; costs a start only where it isn't up."""
        await self.start()
        await self.deployer.promote(release)
        self.look()

    def server(self, release: Release) -> int:
        """The process id of a release's server, 0 where it has none."""
        assert self.process
        return next((p for p in children_of(self.process.pid) if str(release.path) in cmdline(p)), 0)

    def look(self) -> None:
        """Remember what the servers hold, for a look after their end."""
        assert self.process
        self.sessions |= set(children_of(self.process.pid))
        self.shared |= {file for pid in self.left() for file in shared_memory_of(pid)}

    def left(self) -> list[int]:
        """Processes of all servers ever seen that are still there."""
        return [pid for session in self.sessions for pid in in_session(session)]

    def end(self) -> None:
        """End everything, whatever happened."""
        if self.process and self.process.poll() is None:
            self.sessions |= set(children_of(self.process.pid))
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _answers(self) -> bool:
        try:
            await self.deployer.state()
        except DeployerUnavailable:
            return False
        return True


def status(port: int, method: str, path: str) -> int:
    """Ask for exactly this path: httpx would tidy it up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body="{}", headers={"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def body(port: int, path: str) -> str:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60).text
