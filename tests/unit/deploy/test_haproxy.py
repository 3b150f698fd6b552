"""Who may steer an HAProxy; what it does when it is steered is in tests/integration/test_haproxy.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from socket import create_server

from deploy.vllm.haproxy import steered_alone


def _second(folder: Path, socket: Path, backend: str = "alignd") -> str:
    """What ``alignd serve`` says when it ends at once."""
    folder.mkdir()
    with create_server(("127.0.0.1", 0)) as taken:  # where nothing else stops it, its admin port does
        command = [sys.executable, "-m", "deploy.vllm.serve", "--releases", str(folder), "--state", str(folder),
                   "--name", "m", "--front", "haproxy", "--haproxy-socket", str(socket), "--haproxy-backend", backend,
                   "--admin-port", str(taken.getsockname()[1])]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_one_supervisor_alone_steers_a_backend(tmp_path: Path) -> None:
    socket = tmp_path / "run" / "s"
    assert "can't be made (No such file or directory)" in _second(tmp_path / "a", socket)
    socket.parent.mkdir()
    (tmp_path / "link").symlink_to(socket.parent)
    with steered_alone(socket, "alignd"):
        said = _second(tmp_path / "b", socket)
        assert f"backend alignd of the HAProxy at {socket} is in use by another process" in said
        assert "is in use by another process" in _second(tmp_path / "c", tmp_path / "link" / "s")
        assert "--admin-port" in _second(tmp_path / "d", socket, "other")
    assert "--admin-port" in _second(tmp_path / "e", socket), "it is free again"
