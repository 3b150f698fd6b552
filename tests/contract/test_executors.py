"""The local executor keeps its port, over the real process boundary with a recipe from another package."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.executors.local import LocalExecutor
from monitor.testing import check_executor
from remediation.errors import PatchFailed
from remediation.patch import PatchRequest
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
