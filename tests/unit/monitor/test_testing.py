"""The shipped executor passes the check of executors, and the check catches what breaks one."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.testing import FakeExecutor, check_executor
from remediation.errors import PatchFailed, WorkerDied
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.testing import FakePatcher
from tests.unit.deploy.test_checkpoint import write_checkpoint


@pytest.fixture
def asked(tmp_path: Path) -> PatchRequest:
    drifted, reference = (write_checkpoint(tmp_path / n, data=n.encode()) for n in ("drifted1", "the-good"))
    return PatchRequest(
        incident="i", recipe="fake", drifted=drifted, reference=reference, output=tmp_path / "work" / "out", seed=1
    )


def hopeless(request: PatchRequest) -> PatchRequest:
    return replace(request, recipe="none", output=request.output.with_name("not-made"))


def fake() -> FakeExecutor:
    return FakeExecutor(patchers={"fake": FakePatcher()})


async def test_the_fake_executor_keeps_the_port(asked: PatchRequest) -> None:
    await check_executor(fake(), asked, hopeless=hopeless(asked))


async def test_a_missing_checkpoint_fails_the_recipe(asked: PatchRequest) -> None:
    with pytest.raises(PatchFailed, match="no such folder"):
        await fake().run(replace(asked, drifted=asked.output), lambda *_: None)


async def test_the_fake_executor_follows_its_script(asked: PatchRequest) -> None:
    seen: list[str] = []
    executor = FakeExecutor(patchers={"fake": FakePatcher()}, faults=[WorkerDied("killed")], hook=seen.append)
    with pytest.raises(WorkerDied, match="killed"):
        await executor.run(asked, lambda *_: None)
    await executor.run(asked, lambda *_: None)
    assert (seen, len(executor.asked)) == (["patch", "patch", "patched"], 2)


class Trusts(FakeExecutor):
    """Takes a folder that is there for a result."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        if request.output.exists():
            return await fake().run(replace(request, output=request.output.with_name("x")), lambda *_: None)
        return await FakeExecutor.run(self, request, on_progress)


class Forgetful(FakeExecutor):
    """Looks at the folder alone: whatever is asked, the patch that is there is given."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        known = self._made.get(request.output)
        if known and request.output.exists():
            return known[1]
        return await FakeExecutor.run(self, request, on_progress)


class Appends(FakeExecutor):
    """Runs again into a folder that is there."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        left = request.output.with_name("old")
        if request.output.exists():
            request.output.rename(left)
        patch = await FakeExecutor.run(self, request, on_progress)
        if left.exists():
            shutil.copytree(left, request.output, dirs_exist_ok=True)
            shutil.rmtree(left)
        return patch


class Uncancellable(FakeExecutor):
    """Goes on when it is cancelled."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        try:
            return await FakeExecutor.run(self, request, on_progress)
        except asyncio.CancelledError:
            return await FakeExecutor.run(self, request, lambda *_: None)


class LeavesScratch(FakeExecutor):
    """Leaves a half-written folder."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        (request.output.parent / f".{request.output.name}.partial").mkdir(parents=True, exist_ok=True)
        return await FakeExecutor.run(self, request, on_progress)


class LeavesOutput(FakeExecutor):
    """Leaves the output of a failed run."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        try:
            return await FakeExecutor.run(self, request, on_progress)
        except PatchFailed:
            request.output.mkdir()
            raise


class NeverFails(FakeExecutor):
    """Runs some recipe for one that is not there."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        return await FakeExecutor.run(self, replace(request, recipe="fake"), on_progress)


class Misnames(FakeExecutor):
    """Names another recipe."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        return replace(await FakeExecutor.run(self, request, on_progress), recipe="other")


class WritesInputs(FakeExecutor):
    """Works in the drifted folder."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        (request.drifted / "log").write_text(str(len(self.asked)))
        return await FakeExecutor.run(self, request, on_progress)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Trusts, "was asked for, .*/x was made"),
        (Forgetful, "another request to the same folder is answered with the earlier result"),
        (Appends, "what a crash left is in the result"),
        (Uncancellable, "must end as cancelled"),
        (LeavesScratch, "a cancelled run leaves"),
        (LeavesOutput, "a failed run leaves .*not-made"),
        (NeverFails, "refused with PatchFailed, not done"),
        (Misnames, "'other' ran"),
        (WritesInputs, "must leave its inputs as they are"),
    ],
)
async def test_an_executor_that_breaks_the_port_is_caught(
    asked: PatchRequest, broken: type[FakeExecutor], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        await check_executor(broken(patchers={"fake": FakePatcher()}), asked, hopeless=hopeless(asked))
