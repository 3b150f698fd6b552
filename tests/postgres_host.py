"""A real PostgreSQL for tests, in a folder of its own, on a socket and a loopback port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from deploy.vllm.child import free_port

__all__ = ["PostgresHost", "postgres_host", "programs_of_postgres"]

_NUMBERS = count(1)


def programs_of_postgres() -> Path | None:
    """Find where Debian puts the server's programs, the newest ones."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class PostgresHost:
    """One that runs, or can be started again."""

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        data = str(self.folder / "data")
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"]
        command = [str(self.programs / "postgres"), "-D", data, "-k", str(self.folder), "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, **_as_postgres(), cwd=self.folder)
        for _ in range(600):
            try:
                psycopg.connect(self._dsn("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it at once, as when its host dies; what was committed is there after the next start."""
        assert self.process
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{next(_NUMBERS)}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://alignd:secret-word@127.0.0.1:{self.port}/{name}"

    def _dsn(self, name: str) -> str:
        return f"host={self.folder} port={self.port} user=alignd dbname={name}"


@contextmanager
def postgres_host(programs: Path) -> Iterator[PostgresHost]:
    """Run a server until the end; its files go with it."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has 107 characters at most
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    host = PostgresHost(programs=programs, folder=folder)
    try:
        made = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "alignd", "--auth=trust", "--no-sync",
                "--encoding=UTF8", "--locale=C.UTF-8"]  # fmt: skip
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **_as_postgres())
        host.start()
        yield host
    finally:
        if host.process and host.process.poll() is None:
            host.stop()
        shutil.rmtree(folder)


def _as_postgres() -> dict[str, str]:
    """PostgreSQL does not run as root."""
    return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
