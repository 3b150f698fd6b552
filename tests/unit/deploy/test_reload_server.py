"""A server starts with the release that was put into service last, and with nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploy.errors import StageError
from deploy.vllm import reload_server
from deploy.vllm.reload import Options
from deploy.vllm.reload_journal import desired_release, write_desired
from deploy.vllm.scratch import available_bytes, require_memory
from tests.unit.deploy.test_testing import release


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    started: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _, words: started.extend(words))
    monkeypatch.setattr(sys, "argv", ["reload_server", *words])
    reload_server.main()
    return started


def test_the_desired_release_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = release(tmp_path, "first"), release(tmp_path, "second")
    where = ("--releases", str(tmp_path / "store"), "--state", str(tmp_path / "state"), "--name", "m")
    words = run(monkeypatch, *where, "--first", first.id, "--host", "0.0.0.0", "--max-model-len", "64")
    assert words[words.index("--model") + 1] == str(first.path)
    assert words[words.index("--fingerprint-value") + 1] == first.id
    assert words[len(words) - words[::-1].index("--host")] == "127.0.0.1", "of two, the last one counts"
    assert words[words.index("--max-model-len") + 1] == "64"
    assert "VLLM_SERVER_DEV_MODE=1" in words
    assert desired_release(tmp_path / "state") == first.id
    write_desired(tmp_path / "state", second.id)
    words = run(monkeypatch, *where, "--first", first.id)
    assert words[words.index("--model") + 1] == str(second.path)


def test_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--releases", str(tmp_path / "store"), "--state", str(tmp_path / "state"), "--name", "m")
    changed = release(tmp_path, "first")
    (changed.path / "config.json").write_text("{}")
    for more, message in (
        ((), "give --first RELEASE"),
        (("--first", "other@1"), "not in"),
        (("--first", changed.id), "manifest"),
    ):
        with pytest.raises(SystemExit):
            run(monkeypatch, *where, *more)
        assert message in capsys.readouterr().err
    (tmp_path / "state" / "desired.json").write_text("{")
    with pytest.raises(SystemExit):
        run(monkeypatch, *where)
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000", "http://vllm:8000", "https://127.0.0.1:8000", "127.0.0.1"])
def test_dev_mode_is_asked_on_loopback_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Options(url=url, model="m", releases=tmp_path, state=tmp_path)


def test_a_scratch_server_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:  1048576 kB\n")
    assert available_bytes(meminfo) == 1 << 30
    assert available_bytes(tmp_path / "none") is None
    held = release(tmp_path, "first")
    require_memory(held, free=None)
    require_memory(held, free=4 << 30)
    with pytest.raises(StageError, match=r"no room for a scratch server .* 1024 MiB are free"):
        require_memory(held, free=1 << 30)
