"""The rows of a run, one after the other, each in a child process. Killed at any time, the next start goes on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from deploy.checkpoint import check_checkpoint, require_same_architecture
from deploy.digest import folder_digest
from deploy.errors import CheckpointError
from deploy.parent import die_with_parent
from remediation.errors import ReproduceError
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ReproduceSettings, Row, RowKey, Sources, plan
from remediation.reproduce.same import asked_of, require_same_asked, require_same_sources

__all__ = ["run_rows"]

_TAIL = 6
"""Last lines of standard error that a row's error keeps."""

Say = Callable[[str, float], None]


def run_rows(
    folder: ReproduceFolder,
    settings: ReproduceSettings,
    *,
    on_row: Callable[[Row], None],
    say: Say,
    again: bool = False,
    wanted: Callable[[RowKey, Mapping[str, Row]], bool] = lambda *_: True,
) -> None:
    """Make the rows that are not done yet.

    A row whose recipe fails is a row with its error. What is under way when this process ends is not a row, nor is what
    was made with other options or on another device: it is made anew.

    Args:
        settings: With every option of the recipes (``resolved``): what rows tell, and are compared by.
        on_row: Called with each row as it is done.
        say: Told what the row under way does, and its share done.
        again: Make rows that ended with an error once more.
        wanted: Asked when a missing row's turn comes, with the rows done by then by name; the others are left out.

    Raises:
        ReproduceError: The folder is another run's or in use, the device is not there, an attack's checkpoint can't be
            made or used, or rows that are done were asked something else, or made of another checkpoint, than would
            stand beside them.
        ProbeError: A suite, task or judge can't be used.
    """
    digests: dict[Path, str] = {}
    with _locked(folder.path):
        folder.begin(settings)
        done = {row.key.name: row for row in folder.shown(settings)}
        asked = asked_of(settings)
        require_same_asked(folder.path, done.values(), asked)
        missing = [k for k in plan(settings.attacks, settings.recipes, settings.seeds)
                   if k.name not in done or (again and done[k.name].error)]  # fmt: skip
        _require_drifted(folder, settings, missing)
        if missing:
            _require_device(folder, settings, say)
        for key in missing:
            if not wanted(key, done):
                continue
            if key.attack and not folder.drifted(key).exists():
                _drift(folder, settings, key, say)
            sources = _sources(folder, settings, key, digests, say)
            require_same_sources(folder, settings, done.values(), key, sources)
            folder.remove(key)
            row = _row(folder, settings, key, sources, say)
            if row.asked_otherwise(asked[key.attack]):
                folder.remove(key)
            require_same_asked(folder.path, [row], asked)
            done[key.name] = row
            on_row(row)
        folder.clear_work()


def _require_device(folder: ReproduceFolder, settings: ReproduceSettings, say: Say) -> None:
    if settings.device != "cpu":
        code, told = _child(["remediation.device", settings.device], folder.work, say)
        if code:
            raise ReproduceError(f"device {settings.device} can't be used: {told}; give another, and the run goes on")


def _require_drifted(folder: ReproduceFolder, settings: ReproduceSettings, keys: Iterable[RowKey]) -> None:
    """Look at the drifted checkpoints that stand there already, before the first row and not at the last."""
    for there in dict.fromkeys(folder.drifted(key) for key in keys if key.attack):
        if there.exists():
            try:
                check_checkpoint(there)
                require_same_architecture(settings.model, there)
            except CheckpointError as error:
                raise ReproduceError(f"{error}; or remove {there}, and it is made again") from error


def _sources(
    folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, known: dict[Path, str], say: Say
) -> Sources:
    """Digest a row's checkpoints, each once in a run and not before its turn: it reads every byte."""
    for path in (settings.model, *([folder.drifted(key)] if key.attack else [])):
        if path not in known:
            say(f"digest of {path.name}", 0.0)
            known[path] = folder_digest(path)
    return Sources(known[settings.model], known[folder.drifted(key)] if key.attack else "")


def _row(folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, sources: Sources, say: Say) -> Row:
    began = time.monotonic()
    command = ["remediation.reproduce.row", str(folder.path), key.name, sources.model, sources.drifted]
    code, tail = _child(command, folder.work, say)
    shutil.rmtree(folder.patched(key), ignore_errors=True)
    row = folder.done().get(key.name)
    if row is None:
        ended = f"signal {-code} (out of memory, most likely)" if code == -signal.SIGKILL else f"code {code}"
        error = f"its process ended with {ended}: {tail}" if tail else f"its process ended with {ended}"
        row = Row(
            key=key, figures=None, error=error, seconds=time.monotonic() - began, options=settings.options_of(key),
            device=settings.device,
        )  # fmt: skip
        folder.write(row)
    return row


def _drift(folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, say: Say) -> None:
    target = folder.drifted(key)
    target.parent.mkdir(exist_ok=True)
    command = ["remediation.sft.drift", "--model", str(settings.model), "--attack", key.attack, "--seed",
               str(key.seed), "--output", str(target), "--device", _one_device(settings.device)]  # fmt: skip
    code, tail = _child(command, folder.work, say)
    if not target.exists():
        raise ReproduceError(
            f"{settings.model} can't be made to drift by {key.attack} (ended with {code}): {tail}; or put a drifted "
            f"checkpoint of your own at {target}"
        )


def _one_device(device: str) -> str:
    """Where to fit and to repair: a model that is spread over several GPUs is only measured there."""
    return "cpu" if device == "auto" else device


def _child(arguments: Sequence[str], work: Path, say: Say) -> tuple[int, str]:
    """Run a module and relay its progress; whatever ends this function ends the child."""
    errors = work / "stderr.txt"
    errors.parent.mkdir(exist_ok=True)
    with errors.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, text=True,
            start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509  (this process has no other thread)
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        )  # fmt: skip
        try:
            for line in process.stdout or ():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    said = json.loads(line)
                    say(str(said["stage"]), float(said["share"]))
            code = process.wait()
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout:
                process.stdout.close()
    lines = errors.read_text(encoding="utf-8", errors="replace").splitlines()
    return code, " | ".join(line.strip() for line in lines[-_TAIL:] if line.strip())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep a second run out of the folder while this process lives.

    Raises:
        ReproduceError: Another run holds it, or the folder can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a")
    except OSError as error:
        raise ReproduceError(f"{path}: can't be written ({error.strerror}); give another --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReproduceError(f"{path}: another run is under way in it; wait, or give another --out") from None
        yield
