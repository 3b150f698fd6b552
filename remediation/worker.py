"""The process boundary: recipes run in a child process, so that the watcher never imports torch.

``python -m remediation.worker FD OUTPUT DEVICE`` reads a request from standard input and runs its recipe; progress
comes as JSON lines on standard output. The result is written last, to the open file FD: unless it is whole, the work
counts as not done. The file has no name and the request, which holds a key, is in no file, so that nothing stays of
either whoever is killed. OUTPUT is there for people who look at the list of processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploy.adapter import check_whole, full_checkpoint
from deploy.checkpoint import require_digest, require_same_architecture
from deploy.durable import clear_scratch
from deploy.errors import CheckpointError
from deploy.parent import die_with_parent
from deploy.weights import parameters_of
from remediation.errors import PatchFailed, WorkerDied
from remediation.memory import out_of_memory
from remediation.patch import Control, Form, LayerSpectrum, Patch, Patcher, PatchProgress, PatchRequest, Screen
from remediation.recipe_check import told_of
from remediation.worker_span import worker_span

__all__ = ["make_patcher", "patch_from_json", "perform", "request_from_json", "run_patch", "to_json"]

_GROUP = "alignd.patchers"
_STOP_SECONDS = 10.0
_LINE_MAX = 1 << 16
"""Bytes of a line of progress; a longer one is something else, and is not kept."""
_ERRORS_MAX = 1 << 16


async def run_patch(
    request: PatchRequest, *, timeout_seconds: float, on_progress: PatchProgress,
    environment: Mapping[str, str] | None = None, device: str = "cpu",
) -> Patch:  # fmt: skip
    """Run a recipe in a child process group, with additions to its environment, on the processor or a GPU.

    Cancelling kills the group; whatever it had half written is removed, and so is what a run before it left that was
    killed together with its watcher. An output that was there before is left as it is.

    Raises:
        PatchFailed: The recipe can't repair this checkpoint, or took too long.
        WorkerDied: The worker ended without a result.
    """
    await asyncio.to_thread(clear_scratch, request.output.parent, of=request.output.name)
    ours = not request.output.exists()
    with tempfile.TemporaryFile() as result:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "remediation.worker", str(result.fileno()), str(request.output), device,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            pass_fds=(result.fileno(),), start_new_session=True, preexec_fn=die_with_parent,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **(environment or {})},
        )  # fmt: skip
        try:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await _ask(process, request)
                    tail = await _follow(process, on_progress)
                    await process.wait()
            finally:
                await _end(process)
                clear_scratch(request.output.parent, of=request.output.name)
        except TimeoutError as error:
            _remove(request.output, ours=ours)
            raise PatchFailed(
                f"recipe {request.recipe}: not done in {timeout_seconds:g} s; raise its time limit"
            ) from error
        result.seek(0)
        try:
            said = json.loads(result.read())
        except ValueError:
            _remove(request.output, ours=ours)
            raise WorkerDied(_epitaph(request, process.returncode, tail)) from None
    if "failed" in said:
        raise PatchFailed(said["failed"])
    return patch_from_json(said)


def make_patcher(recipe: str, options: Mapping[str, Any]) -> Patcher:
    """Make a recipe of its plugin and options.

    Raises:
        PatchFailed: There is no such recipe, or its options are wrong.
    """
    found = {e.name: e for e in entry_points(group=_GROUP)}
    if recipe not in found:
        raise PatchFailed(f"no recipe {recipe!r}; there are: {', '.join(sorted(found))}")
    module = importlib.import_module(found[recipe].value)
    try:
        patcher: Patcher = module.make(module.Options(**options))
    except ValidationError as error:
        wrong = "; ".join(told_of(error, module.Options))
        raise PatchFailed(f"recipe {recipe} refuses its options: {wrong}") from error
    except ValueError as error:
        raise PatchFailed(f"recipe {recipe}: {error}") from error
    return patcher


def to_json(noun: PatchRequest | Patch) -> dict[str, Any]:
    """Return plain values, paths as text; a request's key is left out, for this is what is kept."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(noun), default=str))
    plain.pop("site_key", None)
    return plain


def request_from_json(data: Mapping[str, Any]) -> PatchRequest:
    """Rebuild a request."""
    reference = data["reference"]
    return PatchRequest(
        incident=data["incident"], recipe=data["recipe"], drifted=Path(data["drifted"]),
        reference=Path(reference) if reference else None, output=Path(data["output"]), seed=data["seed"],
        options=data["options"], form=Form(data["form"]), parent_digest=data["parent_digest"],
        reference_digest=data["reference_digest"], site_key=data.get("site_key", ""),
        benign_steps=data.get("benign_steps", 0),
    )  # fmt: skip


def patch_from_json(data: Mapping[str, Any]) -> Patch:
    """Rebuild a patch."""
    spectrum = tuple(
        LayerSpectrum(**{**s, "singular_values": tuple(s["singular_values"])}) for s in data["spectrum"]
    )
    return Patch(
        **{
            **data, "checkpoint": Path(data["checkpoint"]), "screen": Screen(**data["screen"]), "spectrum": spectrum,
            "controls": tuple(Control(**c) for c in data["controls"]), "form": Form(data["form"]),
        }
    )  # fmt: skip


async def _ask(process: asyncio.subprocess.Process, request: PatchRequest) -> None:
    """Hand the request over; a worker that ended already has its end told by its code."""
    if process.stdin is None:
        raise WorkerDied("the worker has no pipes")
    process.stdin.write(json.dumps({**to_json(request), "site_key": request.site_key}).encode())
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.drain()
    process.stdin.close()


async def _follow(process: asyncio.subprocess.Process, on_progress: PatchProgress) -> str:
    """Relay progress; return the last lines of standard error."""
    if process.stdout is None or process.stderr is None:
        raise WorkerDied("the worker has no pipes")
    errors = asyncio.create_task(_last(process.stderr))
    async for line in _lines(process.stdout):
        try:
            said = json.loads(line)
            on_progress(str(said["stage"]), float(said["share"]))
        except (ValueError, KeyError, TypeError):
            continue
    return "\n".join((await errors).decode(errors="replace").splitlines()[-8:])


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length, of those that are too long to be progress no more than their beginning."""
    begun = b""
    while chunk := await stream.read(_LINE_MAX):
        *whole, begun = (begun + chunk).split(b"\n")
        begun = begun[:_LINE_MAX]
        for line in whole:
            yield line


async def _last(stream: asyncio.StreamReader) -> bytes:
    """Read to the end and keep the end."""
    kept = b""
    while chunk := await stream.read(_ERRORS_MAX):
        kept = (kept + chunk)[-_ERRORS_MAX:]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    for sig in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            return
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            continue


def _remove(output: Path, *, ours: bool) -> None:
    """Remove what a worker wrote that ended before it could say so."""
    if ours:
        shutil.rmtree(output, ignore_errors=True)


def _epitaph(request: PatchRequest, code: int | None, tail: str) -> str:
    """Say how a worker ended that left no result."""
    if code == -signal.SIGKILL:
        return (
            f"recipe {request.recipe}: worker was killed (SIGKILL), as Linux does where memory runs out; "
            f"{_memory(request)}"
        )
    return f"recipe {request.recipe}: worker ended with {code} and no result:\n{tail}"


def _memory(request: PatchRequest) -> str:
    """Say how much memory the weights need at least: recipes hold them in float32."""
    try:
        copies = [request.drifted, request.drifted, *([request.reference] if request.reference else [])]
        need = f"{4 * sum(parameters_of(full_checkpoint(c)) for c in copies) / 2**30:.3g} GiB"
    except CheckpointError:
        need = "more than there is"
    return (
        f"{len(copies)} copies of the weights in float32 need {need}, and activations, which grow with prompts and "
        "answers, come on top: free memory, shorten what is long, or run the worker on a larger machine"
    )


def perform(request: PatchRequest, progress: PatchProgress) -> Patch:
    """Run one recipe in this process, on checkpoints that were looked at first.

    Raises:
        PatchFailed: The recipe can't repair this checkpoint, its numbers go wrong (a matrix that can't be factored, a
            division by zero, a value out of range), or memory ran out. Trying again would end the same way.
        CheckpointError: A folder can't be used.
    """
    drifted = check_whole(request.drifted)
    if request.parent_digest:
        require_digest(request.drifted, request.parent_digest, since="when the incident began")
    if request.reference:
        reference = check_whole(request.reference)
        if request.reference_digest:
            require_digest(request.reference, request.reference_digest, since="when it was imported")
        require_same_architecture(drifted, reference)
    try:
        return make_patcher(request.recipe, request.options).patch(request, progress)
    except (MemoryError, RuntimeError, ArithmeticError, ValueError) as error:
        if out_of_memory(error):
            raise PatchFailed(f"recipe {request.recipe}: memory ran out; {_memory(request)}") from error
        if not _of_the_numbers(error):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise PatchFailed(
            f"recipe {request.recipe} can't repair this checkpoint: {type(error).__name__.lstrip('_')}: {error} "
            f"({Path(last.filename).name}, line {last.lineno}); try another recipe"
        ) from error


def _of_the_numbers(error: Exception) -> bool:
    """Tell arithmetic that can't be done from a fault of the program; torch's own is told by its name."""
    names = {c.__name__.lstrip("_") for c in type(error).__mro__}
    return isinstance(error, ArithmeticError | ValueError) or "LinAlgError" in names


def main() -> None:
    """Run one recipe in this process."""
    request = request_from_json(json.load(sys.stdin))

    def say(stage: str, share: float) -> None:
        print(json.dumps({"stage": stage, "share": share}), flush=True)

    with worker_span(request):
        try:
            if (device := sys.argv[3]) != "cpu":
                importlib.import_module("remediation.device").use(device)
            said = to_json(perform(request, say))
        except (PatchFailed, CheckpointError) as error:
            said = {"failed": str(error)}
        with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as result:
            json.dump(said, result)


if __name__ == "__main__":
    main()
