"""A real HAProxy on the shipped file, for tests; and real nginx on its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.files import StackValues, render
from deploy.vllm.child import free_port
from tests.raw_http import leave

__all__ = ["Haproxy", "haproxy", "nginx"]


@dataclass
class Haproxy:
    """One that runs, or can be started again."""

    program: str
    folder: Path
    port: int
    figures_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def start(self) -> None:
        command = [self.program, "-db", "-f", str(self.folder / "haproxy.cfg")]
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        await _listens(self.port, self.process)

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        assert self.process
        self.process.send_signal(sig)
        self.process.wait(10)


@asynccontextmanager
async def haproxy(program: str, *, upstream: str = "", edit: tuple[str, str] = ("", "")) -> AsyncIterator[Haproxy]:
    """Run HAProxy on the shipped file; with an upstream it leads there, else nowhere until it is steered."""
    folder = Path(tempfile.mkdtemp(prefix="hx"))  # a socket's path has 107 characters at most
    found = Haproxy(program=program, folder=folder, port=free_port(), figures_port=free_port())
    values = StackValues(
        name="m", port=found.port, figures_port=found.figures_port, socket=found.socket, upstream=upstream
    )
    text = render("haproxy.cfg", values).replace(*edit) if edit[0] else render("haproxy.cfg", values)
    (folder / "haproxy.cfg").write_text(text)
    try:
        await found.start()
        yield found
    finally:
        if found.process:
            found.process.kill()
            found.process.wait(10)
        shutil.rmtree(folder)


@asynccontextmanager
async def nginx(program: str, upstream: str) -> AsyncIterator[tuple[int, Path]]:
    """Run nginx on the shipped file; its port and its log of requests."""
    folder = Path(tempfile.mkdtemp(prefix="ng"))
    port, log = free_port(), folder / "access.log"
    text = render("nginx.conf", StackValues(name="m", port=port, upstream=upstream))
    text = text.replace("/run/alignd-nginx/nginx.pid", str(folder / "pid")).replace("/dev/stdout", str(log))
    (folder / "nginx.conf").write_text(text)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "log").open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            await _listens(port, process)
            yield port, log
        finally:
            process.terminate()
            process.wait(10)
            shutil.rmtree(folder)


async def _listens(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "it ended at once"
        try:
            await leave((await asyncio.open_connection("127.0.0.1", port))[1])
        except OSError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("it does not listen")
