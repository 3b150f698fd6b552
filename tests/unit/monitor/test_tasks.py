"""A target's task: said in the settings, made by its plugin, asked as it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.bootstrap import build
from monitor.errors import ConfigError, MonitorError
from monitor.measure import Measure
from monitor.settings import load_settings
from probes.tasks.mt_bench import TurnsAttack
from probes.tasks.sql import SqlJudge, generate

ROW = {"question": "1 + 1?", "answer": "#### 2"}


def written(folder: Path, suites: str, more: str = "") -> Path:
    (folder / "rows.jsonl").write_text(json.dumps(ROW))
    path = folder / "alignd.yaml"
    path.write_text(
        "key: long-enough-secret\ntargets:\n"
        "- {name: prod, endpoint: 'http://127.0.0.1:8000/v1', model: m, "
        f"suites: {{{suites}}}{more}}}\n"
    )
    return path


def measured(folder: Path, suites: str, more: str = "") -> Measure:
    service = build(load_settings(written(folder, suites, more)))
    service.store.close()
    return service.sites["prod"].measure


@pytest.mark.parametrize("suites", ["", "task: ''", "task: null"])
def test_no_task_is_asked_unless_it_is_named(tmp_path: Path, suites: str) -> None:
    measure = measured(tmp_path, suites)
    assert (measure.task, measure.task_judge) == (None, None)


@pytest.mark.parametrize("suites", ["task: sql, task_prompts: 60", "task: {plugin: sql, options: {prompts: 60}}"])
def test_sql_is_named_as_before_and_asks_the_same(tmp_path: Path, suites: str) -> None:
    measure = measured(tmp_path, suites)
    assert measure.task == generate(60, 20260101)
    assert measure.task_judge == SqlJudge()
    assert (measure.task_sampling.max_tokens, measure.task_sampling.top_logprobs) == (128, 0)
    assert measure.task_attack is measure.plain


def test_a_path_counts_from_the_configuration_file(tmp_path: Path) -> None:
    measure = measured(tmp_path, "task: {plugin: gsm8k, options: {path: rows.jsonl}}")
    assert measure.task
    assert measure.task.name == "gsm8k"
    assert measure.task_sampling.max_tokens == 512


def test_the_site_says_how_long_and_the_task_what_else(tmp_path: Path) -> None:
    (tmp_path / "law_test.csv").write_text("q,1,2,3,4,A\n")
    task = "task: {plugin: mmlu, options: {path: law_test.csv}}"
    measure = measured(tmp_path, task, ", sampling: {task_max_tokens: 4}")
    assert (measure.task_sampling.max_tokens, measure.task_sampling.top_logprobs) == (4, 20)


def test_a_task_of_its_own_messages_brings_its_attack(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question_id": 1, "category": "c", "turns": ["a", "b"]}))
    judge = "judge: {endpoint: 'http://127.0.0.1:8001/v1', model: j}"
    measure = measured(tmp_path, f"task: {{plugin: mt-bench, options: {{path: q.jsonl, {judge}}}}}")
    assert measure.task_attack == TurnsAttack()


def test_a_task_is_asked_after_the_deployments_system_prompt(tmp_path: Path) -> None:
    attack = ", attacks: {plugin: direct, options: {system_prompt: Be kind.}}"
    measure = measured(tmp_path, "task: sql", attack)
    assert measure.task
    assert measure.task_attack
    messages = measure.task_attack.messages(measure.task.behaviors[0], seed=1)
    assert [m.role for m in messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("suites", "message"),
    [
        ("task: chess", "no plugin 'chess' in alignd.tasks; there are: gsm8k, mmlu, mt-bench, sql, sql-create"),
        ("task: gsm8k", "targets.prod.suites.task: plugin gsm8k refuses its options: path: field required"),
        ("task: {plugin: sql, options: {rows: 3}}", "refuses its options: rows"),
        ("task: {plugin: gsm8k, options: {path: none.jsonl}}", r"suites.task: .*none.jsonl: can't be read"),
        ("task: {plugin: mmlu, options: {path: rows.jsonl}}", "rows.jsonl, line 1: 'choices' must be a list"),
    ],
)
def test_a_task_that_cannot_be_made_says_why(tmp_path: Path, suites: str, message: str) -> None:
    settings = load_settings(written(tmp_path, suites))
    with pytest.raises(MonitorError, match=message):
        build(settings)


@pytest.mark.parametrize(
    ("suites", "message"),
    [
        ("task_prompts: 60", "there is none; set task"),
        ("task: '', task_prompts: 60", "there is none; set task"),
        ("task: {plugin: sql, options: {prompts: 60}}, task_prompts: 60", "say the same"),
        ("task: sql, task_prompts: 3", "task_prompts: "),
        ("task: {options: {path: x}}", "suites.task.plugin: field required"),
        ("task: {plugin: sql, seed: 3}", "suites.task.seed: unknown key"),
        ("task: 3", "suites.task: "),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, suites: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(written(tmp_path, suites))
