"""The local executor keeps its port, over the real process boundary with a recipe from another package."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from monitor.executors.local import LocalExecutor, _finished
from monitor.testing import check_executor
from remediation.errors import PatchFailed
from remediation.patch import PatchRequest
from remediation.worker import to_json
from tests.unit.deploy.test_checkpoint import write_checkpoint

RECIPE = '''
import time
from pydantic import BaseModel
from remediation.testing import FakePatcher

class Options(BaseModel):
    seconds: float = 0.0

class Lingers:
    """Writes its output and then takes its time."""

    name = "lingers"

    def __init__(self, options):
        self.options = options

    def patch(self, request, progress):
        patch = FakePatcher().patch(request, progress)
        time.sleep(self.options.seconds)
        return patch

make = Lingers
'''


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PatchRequest:
    """A request of a recipe that a package on the worker's path offers."""
    package = tmp_path / "package"
    about = package / "alignd_lingers-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: alignd-lingers\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[alignd.patchers]\nlingers = alignd_lingers\n")
    (package / "alignd_lingers.py").write_text(RECIPE)
    monkeypatch.setenv("PYTHONPATH", str(package))
    drifted, reference = (write_checkpoint(tmp_path / n, data=n.encode()) for n in ("drifted1", "the-good"))
    return PatchRequest(
        incident="i", recipe="lingers", drifted=drifted, reference=reference, output=tmp_path / "work" / "out", seed=1
    )


def like(asked: PatchRequest, **changes: object) -> PatchRequest:
    given = {f: getattr(asked, f) for f in PatchRequest.__slots__}
    return PatchRequest(**{**given, **changes})


async def test_local(asked: PatchRequest) -> None:
    hopeless = like(asked, recipe="none", output=asked.output.with_name("not-made"))
    await check_executor(LocalExecutor(timeout_seconds=60), asked, hopeless=hopeless)


async def test_a_whole_result_outlives_the_executor(asked: PatchRequest) -> None:
    said: list[float] = []
    first = await LocalExecutor().run(asked, lambda _, share: said.append(share))
    count = len(said)
    assert await LocalExecutor().run(asked, lambda _, share: said.append(share)) == first
    assert len(said) == count > 0


async def test_a_recipe_that_takes_too_long_leaves_nothing(asked: PatchRequest) -> None:
    with pytest.raises(PatchFailed, match="not done in 4 s"):
        await LocalExecutor(timeout_seconds=4).run(like(asked, options={"seconds": 60}), lambda *_: None)
    assert not list(asked.output.parent.iterdir())


@pytest.mark.parametrize("kept", ["[1]", "{}", '{"request": {}}', "[" * 100_000, "\x00", '{"patch": 1}', "half of it"])
async def test_a_kept_file_that_can_not_be_used_counts_as_not_done(
    asked: PatchRequest, caplog: pytest.LogCaptureFixture, kept: str
) -> None:
    asked.output.mkdir(parents=True)
    said = asked.output.with_name(f"{asked.output.name}.patch.json")
    half = kept == "half of it"
    said.write_text(json.dumps({"request": to_json(asked), "patch": {"rank": 1}}) if half else kept)
    assert _finished(asked, said) is None
    assert f"{said} can't be used" in caplog.text or kept == '{"request": {}}'
    assert not asked.output.exists()


async def test_a_result_that_can_not_be_kept_is_a_result(
    asked: PatchRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    patch = await LocalExecutor(timeout_seconds=300).run(asked, lambda *_: None)
    assert patch.checkpoint == asked.output
    assert "can't be written (No space left on device)" in caplog.text
