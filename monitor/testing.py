"""Executor and notifier with scriptable faults, and the checks that every executor and every store must pass.

For the tests of this project and of plugins. A store has no fake of its own: ``SqlStore`` on a file in a temporary
folder is as quick, and a second implementation of its transactions would have to be kept right as well.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.checkpoint import check_checkpoint
from deploy.errors import CheckpointError
from monitor.errors import NotSent
from monitor.executor import Executor
from monitor.notifier import Notification
from monitor.store_testing import check_store
from remediation.errors import PatchFailed, RemediationError
from remediation.patch import Patch, Patcher, PatchProgress, PatchRequest
from remediation.testing import contents

__all__ = ["FakeExecutor", "FakeNotifier", "check_executor", "check_store"]


def _nothing(_: str) -> None:
    return None


@dataclass(slots=True, kw_only=True)
class FakeExecutor:
    """Runs recipes in this process and remembers what they made.

    Attributes:
        patchers: The recipes by name.
        faults: What happens to the next runs, in order: an error is raised, ``None`` and the end of the faults let
            a run through.
        hook: Called with ``patch`` before a run and ``patched`` after it. What it raises passes through, as a crash
            at that moment would.
        asked: The requests so far, failed ones too.
    """

    patchers: Mapping[str, Patcher]
    faults: Iterable[RemediationError | None] = ()
    hook: Callable[[str], None] = _nothing
    asked: list[PatchRequest] = field(default_factory=list)
    _made: dict[Path, tuple[PatchRequest, Patch]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin the script."""
        self.faults = iter(self.faults)

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        """Run a recipe, or return what the same request made before."""
        self.asked.append(request)
        self.hook("patch")
        fault = next(iter(self.faults), None)
        if fault is not None:
            raise fault
        asked, patch = self._made.get(request.output, (None, None))
        if patch is None or asked != request or not request.output.is_dir():
            patch = self._fresh(request, on_progress)
            await asyncio.sleep(0)
            self._made[request.output] = request, patch
        self.hook("patched")
        return patch

    def _fresh(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        shutil.rmtree(request.output, ignore_errors=True)
        if request.recipe not in self.patchers:
            raise PatchFailed(f"no recipe {request.recipe!r}; there are: {', '.join(sorted(self.patchers))}")
        try:
            return self.patchers[request.recipe].patch(request, on_progress)
        except CheckpointError as error:
            raise PatchFailed(str(error)) from error


@dataclass(slots=True, kw_only=True)
class FakeNotifier:
    """Keeps what it is told.

    Attributes:
        faults: What happens to the next sends, in order: an error is raised, ``None`` and the end of the faults let
            one through.
        hangs: Whether a send waits until it is cancelled.
        got: What came through.
        asked: All that was tried.
    """

    faults: Iterable[NotSent | None] = ()
    hangs: bool = False
    got: list[Notification] = field(default_factory=list)
    asked: list[Notification] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the script."""
        self.faults = iter(self.faults)

    async def send(self, notification: Notification) -> None:
        """Keep it, or fail as the script says."""
        self.asked.append(notification)
        if self.hangs:
            await asyncio.Event().wait()
        fault = next(iter(self.faults), None)
        if fault is not None:
            raise fault
        self.got.append(notification)

    async def aclose(self) -> None:
        """Hold nothing."""


async def check_executor(executor: Executor, request: PatchRequest, *, hopeless: PatchRequest) -> None:
    """Check an executor: one request has one result, however often and after whatever crash it is asked.

    Args:
        executor: The executor.
        request: One that its recipe can do, the same for the same seed; the output is not there yet.
        hopeless: One whose recipe fails; its output is not there either.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    await _check_cancelled(executor, request)
    request.output.mkdir(parents=True, exist_ok=True)
    (request.output / "half-written").touch()
    said = await _check_run(executor, request)
    _require(bool(said), "a crashed run's folder was taken for a result")
    made = contents(request.output)
    await _check_run(executor, request)
    _require(contents(request.output) == made, "the same request again changes the result")
    shutil.rmtree(request.output)
    await _check_run(executor, request)
    _require(contents(request.output) == made, "a lost result is made again, and the same")
    said = await _check_run(executor, replace(request, seed=request.seed + 1))
    _require(bool(said), "another request to the same folder is answered with the earlier result")
    await _check_failed(executor, hopeless)


async def _check_run(executor: Executor, request: PatchRequest) -> list[float]:
    """Run and look at the result; return what was said meanwhile."""
    said: list[float] = []
    folders = [f for f in (request.drifted, request.reference) if f]
    inputs = [contents(f) for f in folders]
    patch = await executor.run(request, lambda _, share: said.append(share))
    _require(all(0 <= s <= 1 for s in said), f"progress {said} must lie in [0, 1]")
    _require(patch.recipe == request.recipe, f"recipe {request.recipe} was asked for, {patch.recipe!r} ran")
    _require(patch.checkpoint == request.output, f"{request.output} was asked for, {patch.checkpoint} was made")
    _require_whole(request.output)
    _require("half-written" not in contents(request.output), "what a crash left is in the result")
    _require([contents(f) for f in folders] == inputs, "the run must leave its inputs as they are")
    return said


async def _check_cancelled(executor: Executor, request: PatchRequest) -> None:
    before = set(request.output.parent.glob("*"))

    def cancel(_: str, __: float) -> None:
        task.cancel()

    task = asyncio.create_task(executor.run(request, cancel))
    await asyncio.wait([task])
    _require(task.cancelled(), "a cancelled run must end as cancelled")
    left = {p.name for p in set(request.output.parent.glob("*")) - before}
    _require(left <= {request.output.name}, f"a cancelled run leaves {sorted(left)}")
    if left:
        _require_whole(request.output)
        shutil.rmtree(request.output)


async def _check_failed(executor: Executor, request: PatchRequest) -> None:
    before = set(request.output.parent.glob("*"))
    try:
        await executor.run(request, lambda *_: None)
    except PatchFailed:
        pass
    else:
        raise AssertionError("a hopeless request is refused with PatchFailed, not done")
    left = {p.name for p in set(request.output.parent.glob("*")) - before}
    _require(not left, f"a failed run leaves {sorted(left)} behind")


def _require_whole(folder: Path) -> None:
    try:
        check_checkpoint(folder)
    except CheckpointError as error:
        raise AssertionError(f"the result is no whole checkpoint: {error}") from error


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
