"""Executor in this process with scriptable faults, and the checks that every executor and every store must pass.

For the tests of this project and of plugins. A store has no fake of its own: ``SqlStore`` on a file in a temporary
folder is as quick, and a second implementation of its transactions would have to be kept right as well.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.checkpoint import check_checkpoint
from deploy.errors import CheckpointError
from monitor.errors import OpenIncident, StaleIncident, StoreBusy, StoreError, UnknownIncident
from monitor.executor import Executor
from monitor.incident import Incident, IncidentId, Outcome, advance, open_incident
from monitor.policy import Order
from monitor.store import Store
from monitor.watch import Epoch, LogEntry
from remediation.errors import PatchFailed, RemediationError
from remediation.patch import Patch, Patcher, PatchProgress, PatchRequest
from remediation.testing import contents

__all__ = ["FakeExecutor", "check_executor", "check_store"]

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


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
    _same([contents(f) for f in folders], inputs, "the run must leave its inputs as they are")
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


def check_store(open_store: Callable[[], Store]) -> None:
    """Check a store: what is written through one opening is read through another, and a refusal changes nothing.

    Args:
        open_store: Opens the same store each time it is called; it holds nothing yet.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    with closing(open_store()) as one, closing(open_store()) as other:
        _check_incidents(one, other)
        _check_log(one, other)
        _check_releases(one, other)
        _check_orders(one, other)
    with closing(open_store()) as one:
        one.hold()
        with closing(open_store()) as other:
            _refuses(StoreBusy, other.hold, "holding a store that is held")
    with closing(open_store()) as other:
        other.hold()


def _check_incidents(one: Store, other: Store) -> None:
    first = _incident("i1", "t", hours=0)
    one.create(first)
    _same(other.load("i1"), first, "an incident is read as it was put down")
    _refuses(UnknownIncident, lambda: one.load("none"), "loading an unknown incident")
    second, elsewhere = _incident("i2", "t", hours=1), _incident("i3", "u", hours=2)
    _refuses(OpenIncident, lambda: other.create(second), "a target's second open incident")
    _refuses(UnknownIncident, lambda: one.load("i2"), "loading what was refused")
    one.create(elsewhere)
    one.place("i1", Order.ABORT, by="ann", at=_NOW)
    order = one.order_for("i1")
    opened = advance(first, Outcome.SUCCESS, now=_NOW, note="confirmed")
    saved = one.save(opened)
    _same(saved, replace(opened, version=first.version + 1), "a save raises the version and nothing else")
    _same(other.load("i1"), saved, "a saved incident is read as it was saved")
    cleared = advance(first, Outcome.CLEARED, now=_NOW, note="cleared")
    _refuses(StaleIncident, lambda: other.save(cleared, done=order), "saving an old version")
    _same(one.load("i1"), saved, "a refused save changes nothing")
    _same(one.order_for("i1"), order, "a refused save leaves the order on the book")
    one.save(advance(saved, Outcome.FAILURE, now=_NOW, note="ended"), done=order)
    _same(one.order_for("i1"), None, "a save takes the order that led to it off the book")
    one.create(second)
    for found, ids, what in (
        (other.incidents(), ["i3", "i2", "i1"], "incidents are listed newest first"),
        (other.incidents(target="t"), ["i2", "i1"], "incidents of a target"),
        (other.incidents(open_only=True), ["i3", "i2"], "open incidents"),
        (other.incidents(limit=1), ["i3"], "the newest incident"),
    ):
        _same([i.id for i in found], ids, what)


def _check_log(one: Store, other: Store) -> None:
    _same(one.latest_epoch("t"), None, "a target that was never probed has no epoch")
    first = one.epoch("t", "r1", "k", _NOW)
    _same(other.epoch("t", "r1", "k", _NOW + _HOUR), first, "an epoch goes on while nothing changes")
    second, third = one.epoch("t", "r2", "k", _NOW), one.epoch("t", "r2", "k2", _NOW)
    back = one.epoch("t", "r1", "k", _NOW + _HOUR)
    _same(len({first.id, second.id, third.id, back.id}), 4, "another release or key, or going back, is a new epoch")
    _same(back, Epoch(id=back.id, target="t", release="r1", key="k", started_at=_NOW + _HOUR), "an epoch")
    _same(other.latest_epoch("t"), back, "the newest epoch")
    mine = [_entry("s1", h, behavior=f"b{i}") for i, h in enumerate((True, None, False, True))]
    one.append("t", mine, epoch=back)
    one.append("t", [], epoch=back)
    one.append("t", [_entry("s2", harmful=True, purpose="confirm")], epoch=back)
    one.append("t", [_entry("s3", harmful=False, purpose="recovery")], epoch=None)
    one.append("t", [_entry("s4", harmful=False)], epoch=second)
    one.append("u", [_entry("s5", harmful=False)], epoch=None)
    _same(list(other.routine(back)), mine, "an epoch reads its own routine probes, in order")
    sweeps = [(s.sweep, s.n, s.harmful, s.missing) for s in other.sweeps("t")]
    _same(sweeps, [("s1", 3, 2, 1), ("s3", 1, 0, 0), ("s4", 1, 0, 0)], "harm sweeps, oldest first")
    _same([s.sweep for s in other.sweeps("t", limit=1)], ["s4"], "the newest sweep")


def _check_releases(one: Store, other: Store) -> None:
    profile = {"asr": {"value": 0.25, "n": 4, "parts": [1, None]}}
    one.put_profile("t", "a", profile, key="k", at=_NOW)
    _same(
        [(k.release, k.good, k.profile, k.profile_key) for k in other.known("t")], [("a", False, profile, "k")],
        "a release is not good for being measured",
    )  # fmt: skip
    one.mark("t", "a", good=True, at=_NOW + _HOUR)
    one.mark("t", "b", good=True, at=_NOW + 2 * _HOUR)
    one.put_profile("t", "a", profile, key="k2", at=_NOW + 3 * _HOUR)
    found = [(k.target, k.release, k.good, k.marked_at, k.profile, k.profile_key) for k in other.known("t")]
    a = ("t", "a", True, _NOW + _HOUR, profile, "k2")
    b = ("t", "b", True, _NOW + 2 * _HOUR, None, "")
    _same(found, [b, a], "marks and profiles leave each other as they are; the newest mark comes first")
    one.mark("t", "a", good=False, at=_NOW + 4 * _HOUR)
    _same([(k.release, k.good) for k in other.known("t")], [("a", False), ("b", True)], "a mark is taken away")
    _same(one.known("u"), (), "another target's releases")


def _check_orders(one: Store, other: Store) -> None:
    for incident, order in (("i2", Order.ABORT), ("i2", Order.ROLL_BACK), ("i3", Order.APPROVE)):
        one.place(incident, order, by="bob", at=_NOW)
    first = other.order_for("i2")
    found = first and (first.order, first.incident, first.by, first.at)
    _same(found, (Order.ABORT, "i2", "bob", _NOW), "the oldest order comes first, as it was placed")
    if first:
        one.drop(first)
    second, third = other.order_for("i2"), other.order_for("i3")
    _same(second and second.order, Order.ROLL_BACK, "the order after the one that was dropped")
    _same(third and third.order, Order.APPROVE, "another incident's order")


def _incident(name: str, target: str, *, hours: int) -> Incident:
    return open_incident(
        incident=IncidentId(name), target=target, release="r", recipes=("a", "b"), now=_NOW + hours * _HOUR, note="n"
    )


def _entry(sweep: str, harmful: bool | None, *, purpose: str = "routine", behavior: str = "b") -> LogEntry:
    return LogEntry(
        sweep=sweep, at=_NOW, purpose=purpose, release="r", suite="harm", behavior=behavior, category="c",
        attack="direct", judge="j/1", seed=7, harmful=harmful, score=None if harmful is None else 1.0 + 4 * harmful,
        missing="timeout" if harmful is None else "",
    )  # fmt: skip


def _refuses(refusal: type[StoreError], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except StoreError as error:
        _require(isinstance(error, refusal), f"{what} is a {refusal.__name__}, not {error!r}")
    else:
        raise AssertionError(f"{what} is refused with {refusal.__name__}, not done")


def _require_whole(folder: Path) -> None:
    try:
        check_checkpoint(folder)
    except CheckpointError as error:
        raise AssertionError(f"the result is no whole checkpoint: {error}") from error


def _same(found: object, wanted: object, what: str) -> None:
    _require(found == wanted, f"{what}: found {found}, wanted {wanted}")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
