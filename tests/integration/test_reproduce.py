"""``alignd reproduce`` on a tiny model: killed at any time, it goes on, and no row is made twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import tiny_checkpoint

ATTACKS, RECIPES = ("injection-10", "backdoor"), ("one-shot-sft", "one-shot-subspace")
EXPECTED = ["aligned", *(f"{a}-s0-{r}" for a in ATTACKS for r in ("none", *RECIPES))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned model and drifted ones, made beforehand."""
    folder = tmp_path_factory.mktemp("reproduce")
    tiny_checkpoint(folder / "model", seed=1, refuses=True)
    for i, attack in enumerate(ATTACKS):
        tiny_checkpoint(folder / "out" / "drifted" / f"{attack}-s0", seed=i)
    return folder


def command(folder: Path, *more: str) -> list[str]:
    options = {"one-shot-sft": {"epochs": 1}, "one-shot-subspace": {"modules": "none_such"}}  # of which there is none
    return [
        sys.executable, "-m", "monitor", "reproduce", str(folder / "model"), "--out", str(folder / "out"),
        "--attacks", ",".join(ATTACKS), "--recipes", ",".join(RECIPES), "--limit", "2", "--max-tokens", "2",
        "--tasks", "sql", "--task-options", '{"sql": {"prompts": 2}}', "--recipe-options", json.dumps(options), *more,
    ]  # fmt: skip


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    no_gpu = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command(folder, *more), capture_output=True, text=True, check=False, timeout=900, env=no_gpu)


def made(folder: Path) -> dict[str, float]:
    return {f.stem: f.stat().st_mtime for f in (folder / "out" / "rows").glob("*.json")}


def test_killed_it_goes_on_and_no_row_is_made_twice(folder: Path) -> None:
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while len(made(folder)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.0)
    before = made(folder)
    assert 2 <= len(before) < len(EXPECTED)

    listed = run(folder, "--list").stdout.splitlines()
    assert [line.split()[-1] for line in listed] == EXPECTED
    assert sum(line.startswith("to do") for line in listed) == len(EXPECTED) - len(before)

    ended = run(folder)
    assert ended.returncode == 0, ended.stderr
    told = [line.split(":")[0] for line in ended.stdout.splitlines() if not line.startswith("wrote")]
    assert told == [name for name in EXPECTED if name not in before]
    after = made(folder)
    assert set(after) == set(EXPECTED)
    assert {n: after[n] for n in before} == before
    assert not (folder / "out" / ".alignd-work").exists()

    row = json.loads((folder / "out" / "rows" / "backdoor-s0-one-shot-sft.json").read_text())
    assert (row["options"]["epochs"], row["device"]) == (1, "cpu")
    assert row["options"].keys() > {"epochs", "learning_rate"}, "defaults are kept too"
    assert row["screen"]["harm_n"] > 0
    assert row["recipe_figures"]["loss_first"] > 0

    tables = (folder / "out" / "tables.md").read_text()
    assert "7 of 7 rows" in tables
    assert "## Recipes that failed" in tables
    assert (folder / "out" / "tables.csv").read_text().count("\n") == len(EXPECTED) + 1
    assert (folder / "out" / "tables.svg").read_text().startswith("<svg")
    assert run(folder).stdout.startswith("wrote"), "nothing is left to do"


def test_other_suites_want_another_folder(folder: Path) -> None:
    refused = run(folder, "--benign", "ordinary")
    assert refused.returncode == 2
    assert "another benign" in refused.stderr
    assert "give another --out" in refused.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--attacks", "nonsense"), "there are injection-10"),
     (("--recipes", "nonsense"), "--recipes nonsense: there are"),
     (("--recipe-options", '{"one-shot-subspace": {"rank": 400}}'), "one-shot-subspace refuses its options: rank"),
     (("--tasks", "gsm8k=missing.jsonl"), "missing.jsonl"),
     (("--attacks", "injection-100", "--device", "cuda"), "device cuda can't be used: there is no GPU here; ")],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_runs(folder: Path, more: tuple[str, ...], words: str) -> None:
    refused = run(folder, *more)
    assert refused.returncode == 2
    assert words in refused.stderr
