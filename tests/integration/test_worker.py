"""The worker as a process: killed at any moment, talkative, out of memory; nothing half-written is ever picked up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.checkpoint import check_checkpoint
from deploy.digest import folder_digest
from deploy.durable import held
from deploy.errors import CheckpointError, DigestMismatch
from monitor.executors.local import LocalExecutor
from remediation.errors import PatchFailed, WorkerDied
from remediation.patch import Patch, PatchRequest
from remediation.testing import contents
from remediation.worker import _of_the_numbers, perform, run_patch, to_json
from tests.conftest import ROOT
from tests.processes import children_of
from tests.slow_recipe import install
from tests.unit.deploy.test_checkpoint import write_checkpoint

KILLS = 20
WRITING_SECONDS = 0.4


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PatchRequest:
    install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    drifted = write_checkpoint(tmp_path / "drifted")
    return PatchRequest(
        incident="i", recipe="slow", drifted=drifted, reference=None, output=tmp_path / "work" / "out", seed=1
    )


async def test_a_worker_killed_at_any_moment_leaves_a_whole_patch_or_none(asked: PatchRequest) -> None:
    rng, killed, others = random.Random(1), 0, set(children_of(os.getpid()))
    for n in range(KILLS):
        request = replace(
            asked, options={"seconds": WRITING_SECONDS}, output=asked.output.with_name(f"out[{n}]")
        )
        writing = asyncio.Event()
        run = asyncio.create_task(
            run_patch(request, timeout_seconds=300, on_progress=lambda *_, writing=writing: writing.set())
        )
        await asyncio.wait_for(writing.wait(), 300)
        await asyncio.sleep(rng.uniform(0, 1.5 * WRITING_SECONDS))
        for pid in set(children_of(os.getpid())) - others:
            os.kill(pid, signal.SIGKILL)
        (end,) = await asyncio.gather(run, return_exceptions=True)
        if isinstance(end, Patch):
            assert contents(request.output).keys() == contents(request.drifted).keys()
            assert check_checkpoint(request.output) == "LlamaForCausalLM"
        else:
            killed += 1
            assert isinstance(end, WorkerDied)
            assert "was killed (SIGKILL), as Linux does where memory runs out" in str(end)
            assert not request.output.exists()
        left = [p.name for p in request.output.parent.iterdir() if p.name.startswith(".")]
        assert not left, f"kill {n} leaves {left}"
    assert killed >= KILLS / 4, "some were killed before they were done"


async def test_what_a_killed_watcher_left_is_cleared_by_the_next_run(asked: PatchRequest) -> None:
    """A watcher that is killed takes its worker along, and nobody is there to tidy up."""
    stale = asked.output.with_name(f".{asked.output.name}.0123abcd.partial")
    others = asked.output.with_name(".other.0123abcd.partial")
    filled = asked.output.with_name(f".{asked.output.name}.2.0123abcd.partial")
    for folder in (stale, others, filled):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError):
        check_checkpoint(stale)
    with held(filled, alone=False, what="scratch"):
        await run_patch(asked, timeout_seconds=300, on_progress=lambda *_: None)
    assert check_checkpoint(asked.output) == "LlamaForCausalLM"
    assert not stale.exists()
    assert others.exists(), "another run may be at work there"
    assert filled.exists(), "another run fills it, to an output whose name begins like this one's"


async def test_a_long_line_does_not_end_the_worker(asked: PatchRequest) -> None:
    said: list[tuple[str, float]] = []
    talkative = replace(asked, options={"chatter": 300_000})
    await run_patch(talkative, timeout_seconds=300, on_progress=lambda *s: said.append(s))
    assert said == [("copy", 0.0), ("change", 0.5), ("done", 1.0)]


async def test_running_out_of_memory_says_how_much_is_needed(asked: PatchRequest) -> None:
    short = replace(asked, options={"error": "memory"})
    with pytest.raises(PatchFailed, match=r"recipe slow: memory ran out; 2 copies of .* need .* GiB"):
        await run_patch(short, timeout_seconds=300, on_progress=lambda *_: None)
    assert not list(asked.output.parent.iterdir())


@pytest.mark.parametrize("error", ["memory", "torch", "cuda"])
def test_every_way_to_run_out_of_memory_is_known(asked: PatchRequest, error: str) -> None:
    short = replace(asked, options={"error": error}, reference=asked.drifted)
    with pytest.raises(PatchFailed, match=r"memory ran out; 3 copies .* run the worker on a larger machine"):
        perform(short, lambda *_: None)
    assert not list(asked.output.parent.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("division", "ZeroDivisionError: float division by zero"),
        ("value", "ValueError: a share of 1.2"),
        ("factor", "LinAlgError: the factorization could not be completed"),
    ],
)
def test_arithmetic_that_goes_wrong_is_the_recipe_s_failure(asked: PatchRequest, error: str, said: str) -> None:
    with pytest.raises(PatchFailed, match=rf"recipe slow can't repair .*: {said} \(slow_recipe.py, line \d+\); try"):
        perform(replace(asked, options={"error": error}), lambda *_: None)
    assert not list(asked.output.parent.iterdir())


async def test_a_fault_of_the_program_ends_the_worker(asked: PatchRequest) -> None:
    with pytest.raises(WorkerDied, match="TypeError: no number"):
        await run_patch(replace(asked, options={"error": "type"}), timeout_seconds=300, on_progress=lambda *_: None)


def test_torch_s_own_arithmetic_error_is_known_by_its_name(asked: PatchRequest) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as raised:
        torch.linalg.cholesky(-torch.eye(2))
    assert _of_the_numbers(raised.value)
    assert not _of_the_numbers(RuntimeError("shapes"))


def test_other_faults_are_not_taken_for_it(asked: PatchRequest) -> None:
    with pytest.raises(RuntimeError, match="multiplied"):
        perform(replace(asked, options={"error": "other"}), lambda *_: None)
    with pytest.raises(PatchFailed, match="no gradient"):
        perform(replace(asked, options={"error": "can-not"}), lambda *_: None)
    assert not list(asked.output.parent.iterdir())


async def test_weights_that_changed_since_are_not_patched(asked: PatchRequest) -> None:
    known = replace(asked, parent_digest=folder_digest(asked.drifted))
    await run_patch(known, timeout_seconds=300, on_progress=lambda *_: None)
    (asked.drifted / "config.json").write_text((asked.drifted / "config.json").read_text() + " ")
    again = replace(known, output=asked.output.with_name("again"))
    with pytest.raises(DigestMismatch, match=r"drifted: its content has digest .*, when the incident began"):
        perform(again, lambda *_: None)
    with pytest.raises(PatchFailed, match="abort the repair, or put the checkpoint back"):
        await run_patch(again, timeout_seconds=300, on_progress=lambda *_: None)
    assert not again.output.exists()


async def test_a_reference_that_changed_since_is_not_gone_back_to(asked: PatchRequest, tmp_path: Path) -> None:
    good = write_checkpoint(tmp_path / "good")
    known = replace(asked, reference=good, reference_digest=folder_digest(good))
    await run_patch(known, timeout_seconds=300, on_progress=lambda *_: None)
    (good / "model.safetensors").write_bytes((good / "model.safetensors").read_bytes()[:-1] + b"1")
    again = replace(known, output=asked.output.with_name("again"))
    with pytest.raises(DigestMismatch, match=r"good: its content has digest .*, when it was imported it had"):
        perform(again, lambda *_: None)
    with pytest.raises(PatchFailed, match="put the checkpoint back"):
        await run_patch(again, timeout_seconds=300, on_progress=lambda *_: None)
    assert not again.output.exists()


async def test_the_key_comes_to_the_recipe_and_stays_nowhere(asked: PatchRequest, tmp_path: Path) -> None:
    key = "0123456789abcdef-secret"
    keyed = replace(asked, site_key=key)
    told = hashlib.sha256(key.encode()).hexdigest()
    with pytest.raises(PatchFailed, match=told):
        await run_patch(replace(keyed, options={"error": "key"}), timeout_seconds=300, on_progress=lambda *_: None)
    assert key not in repr(keyed)
    assert key not in json.dumps(to_json(keyed))
    await LocalExecutor(timeout_seconds=300).run(keyed, lambda *_: None)
    assert asked.output.with_name("out.patch.json").exists()
    assert [p for p in tmp_path.rglob("*") if p.is_file() and key.encode() in p.read_bytes()] == []


def test_a_killed_parent_leaves_no_key_and_no_folder(asked: PatchRequest, tmp_path: Path) -> None:
    """Nobody is there to tidy up: what lies on disk while the worker is at work stays."""
    key, temporary = "0123456789abcdef-secret", tmp_path / "temporary"
    temporary.mkdir()
    script = f"""
import asyncio
from remediation.worker import request_from_json, run_patch
request = request_from_json({to_json(replace(asked, options={"seconds": 60}))!r} | {{"site_key": {key!r}}})
asyncio.run(run_patch(request, timeout_seconds=100, on_progress=lambda *_: print("begun", flush=True)))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(temporary)}, stdout=subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        (worker,) = children_of(parent.pid)
        assert key not in Path(f"/proc/{worker}/cmdline").read_text()
    finally:
        parent.kill()
        parent.communicate(timeout=60)
    assert list(temporary.iterdir()) == []
