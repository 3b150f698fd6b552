"""The arithmetic of the sweep's benchmark, and what it reads out of the peers' own outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import sweep
from tests.benchmarks.sweep_clients import prompts, write_prompts
from tests.benchmarks.sweep_figures import added_ratio, bootstrap, garak_run, inspect_run, median_ratio, percentile
from tests.benchmarks.sweep_server import endless


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0], 0.99, 3.0), ([1, 2, 3, 4], 0.5, 2.5), ([4, 1, 3, 2], 1, 4), ([1, 2], 0, 1), (range(101), 0.99, 99)],
)
def test_a_percentile_lies_between_order_statistics(values: list[float], share: float, expected: float) -> None:
    assert percentile(list(values), share) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_no_percentile_is_made_up(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        percentile(values, share)


def test_what_is_added_and_its_interval() -> None:
    without = [i / 100 for i in range(1, 101)]
    more = [1.5 * v for v in without]
    assert added_ratio(more, without) == pytest.approx(0.5)
    low, high = bootstrap(more, without, draws=200)
    assert low <= 0.5 <= high
    assert bootstrap(more, without, draws=200) == (low, high), "seeded"
    assert bootstrap([2.0] * 5, [1.0] * 5, draws=20) == (1.0, 1.0)


def test_rounds_are_compared_each_with_itself() -> None:
    assert median_ratio([1, 20, 3], [1, 10, 4]) == 1
    with pytest.raises(ValueError, match="zip"):
        median_ratio([1], [1, 2])


def test_garak_counts_each_prompt_that_was_answered_once() -> None:
    report = [
        {"entry_type": "init", "start_time": "2026-01-01T10:00:00.500000"},
        {"entry_type": "attempt", "uuid": "a", "status": 1, "outputs": [{"text": "x"}]},
        {"entry_type": "attempt", "uuid": "a", "status": 2, "outputs": [{"text": "x"}]},
        {"entry_type": "attempt", "uuid": "b", "status": 2, "outputs": [None]},
        {"entry_type": "eval"},
        {"entry_type": "completion", "end_time": "2026-01-01T10:01:00"},
    ]
    lines = [json.dumps(r) for r in report]
    assert garak_run("\n".join(lines)) == (1, 59.5)
    assert garak_run("\n".join(lines[:-1])) == (1, None)


def test_inspect_says_how_many_samples_it_completed_and_when() -> None:
    log: dict[str, Any] = {
        "stats": {"started_at": "2026-01-01T10:00:00+00:00", "completed_at": "2026-01-01T10:00:14Z"},
        "results": {"completed_samples": 20},
    }
    assert inspect_run(json.dumps(log)) == (20, 14.0)
    assert inspect_run(json.dumps({"status": "error", "results": None})) == (0, None)
    log["stats"]["completed_at"] = "soon"
    assert inspect_run(json.dumps(log)) == (20, None)


def test_everybody_is_given_the_same_prompts(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in write_prompts(tmp_path / "new" / "p.jsonl", 230).read_text().splitlines()]
    assert [r["prompt"] for r in rows] == prompts(230)
    assert prompts(230)[220:] == prompts(10), "from the top again"


def test_a_part_that_did_not_run_reaches_nothing_and_misses_nothing() -> None:
    found = sweep.figures({"throughput": {"ratio": 0.9}, "peers": {"ratios": {"garak_default": 7.0}}})
    words = {asked.split()[0]: word for asked, _, word in sweep.bars(found)}
    assert set(words) == set(found)
    assert words.pop("throughput_ratio_vllm_bench") == "MISSED"
    assert words.pop("garak_default_time_ratio") == "reached"
    assert set(words.values()) == {"not run"}


def test_the_figures_are_those_that_are_asked_for() -> None:
    raw = {
        "throughput": {"ratio": 1.0},
        "null": {"requests_per_second": 2000.0},
        "peers": {"ratios": {"garak_default": 7.0, "garak_fastest": 1.2, "inspect_default": 1.1}},
        "gentleness": {"added": {"contract": 0.01, "uncontrolled": 2.0}},
        "mutations": {"inputs": 10_000, "bad": 0},
    }
    found = sweep.figures(raw)
    assert None not in found.values()
    assert {word for _, _, word in sweep.bars(found)} == {"reached", "shown"}


def test_the_served_model_never_ends_an_answer_by_itself(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    files: dict[str, dict[str, Any]] = {
        "tokenizer.json": {"added_tokens": [{"id": 2, "content": "<|im_end|>"}, {"id": 7, "content": "<gh_stars>"}]},
        "config.json": {"eos_token_id": 2, "hidden_size": 4},
        "generation_config.json": {"eos_token_id": 2},
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
    }
    for name, said in files.items():
        (base / name).write_text(json.dumps(said))
    for _ in range(2):
        endless(base, tmp_path / "made")
    made = {name: json.loads((tmp_path / "made" / name).read_text()) for name in files}
    assert made["config.json"] == {"eos_token_id": 7, "hidden_size": 4}
    assert made["generation_config.json"]["eos_token_id"] == 7
    assert made["tokenizer_config.json"] == {"eos_token": "<gh_stars>", "pad_token": "<|im_end|>"}
    assert json.loads((base / "config.json").read_text())["eos_token_id"] == 2
