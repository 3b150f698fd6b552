"""The one scratch server, found and stopped whoever started it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.vllm.scratch import Scratch, _Found


async def test_a_scratch_server_that_ends_by_itself_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = Scratch(state=tmp_path, store=tmp_path, name="m", start_seconds=1.0)
    (tmp_path / "scratch.json").write_text("{}")
    ended = subprocess.Popen(["true"], start_new_session=True)
    ended.wait(10)

    async def found(_: Scratch) -> _Found:
        return _Found(release="a@0", port=1, pid=ended.pid)

    monkeypatch.setattr(Scratch, "_find", found)
    await scratch.stop()
    assert not (tmp_path / "scratch.json").exists()
