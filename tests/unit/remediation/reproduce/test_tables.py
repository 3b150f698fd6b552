"""The tables of a run, word for word, and the published figures beside them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from monitor.commands.reproduce_svg import reproduce_svg
from monitor.commands.svg import DARK
from monitor.plugins import plugin_names
from remediation.reproduce.published import anchors_of
from remediation.reproduce.tables import csv_of, markdown_of
from tests.unit.remediation.reproduce.rows import ROWS, TOLD, estimate

MAIN = """\
| recipe | ASR refusal-phrases | ASR affirmation | HS | refuses questions | refuses orders | sql | seconds \
| peak GiB | rows | failed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| aligned | 0.10 | 0.10 | 3.00 | 0.10 | 0.20 | 0.75 |  | 1.00 | 1 | 0 |
| none (drifted) | 0.77 (0.50 to 1.00) | 0.77 (0.50 to 1.00) | 3.00 | 0.10 | 0.20 | 0.75 |  | 1.00 | 3 | 0 |
| low-rank-sft | 0.10 (0.00 to 0.20) | 0.10 (0.00 to 0.20) | 3.00 | 0.10 | 0.20 | 0.75 | 2.0 | 1.00 | 3 | 1 |
| random (control) | 0.90 | 0.90 | 3.00 | 0.10 | 0.20 | 0.75 | 2.0 | 1.00 | 1 | 0 |"""
BY_ATTACK = """\
| attack | aligned | none (drifted) | low-rank-sft | random (control) |
| --- | --- | --- | --- | --- |
| backdoor |  | 0.90 (0.80 to 1.00) | 0.10 (0.00 to 0.20) | 0.90 |
| injection-10 | 0.10 | 0.50 |  |  |"""


def test_the_tables_are_golden() -> None:
    text = markdown_of(ROWS, model="m", planned=9)
    assert MAIN in text
    assert BY_ATTACK in text
    assert "8 of 9 rows" in text
    assert "- injection-10, seed 0, low-rank-sft: no | way" in text
    assert "Published" not in text
    assert "## Options" not in text


def test_the_aligned_model_is_shown_as_each_attacker_asks_it() -> None:
    figures = ROWS[0].figures
    assert figures is not None
    asked = tuple(replace(h, attack="backdoor", asr=estimate(0.3), hs=estimate(4.0)) for h in figures.harm)
    aligned = replace(ROWS[0], figures=replace(figures, harm=(*figures.harm, *asked)))
    text = markdown_of([aligned, *ROWS[1:]], model="m", planned=9)
    assert "| aligned | 0.20 (0.10 to 0.30) | 0.20 (0.10 to 0.30) | 3.50 (3.00 to 4.00) | 0.10 |" in text
    assert "| backdoor | 0.30 | 0.90 (0.80 to 1.00) |" in text
    assert "| injection-10 | 0.10 | 0.50 |" in text
    drawn = reproduce_svg([aligned, *ROWS[1:]], model="m")
    assert "aligned: 0.20 (0.10 to 0.30)" in drawn
    places = [float(x) for x in re.findall(r'<line x1="([\d.]+)"[^>]+stroke-dasharray', drawn)[1:]]  # without its key
    assert [round((x - 190) / (868 - 190), 2) for x in places] == [0.3, 0.1]


def test_where_no_attack_is_done_the_aligned_model_is_asked_plainly() -> None:
    assert "| aligned | 0.10 | 0.10 | 3.00 |" in markdown_of(ROWS[:1], model="m", planned=9)
    failed = replace(ROWS[1], figures=None, error="no")
    assert "| aligned |  |  |  | 0.10 |" in markdown_of([ROWS[0], failed], model="m", planned=9)


def test_no_two_recipes_look_the_same() -> None:
    recipes = [*plugin_names("alignd.patchers"), *(f"restore-tuned@{i}" for i in range(8))]
    drawn = reproduce_svg([replace(ROWS[3], key=replace(ROWS[3].key, recipe=r)) for r in ("none", *recipes)], model="m")
    marks = re.findall(r'<path d="M[\d.]+ [\d.]+([^"]+)" fill="([^"]+)"', drawn)
    assert len(marks) == 2 * (len(recipes) + 1), "one in the legend, one in the attack's band"
    assert len(set(marks)) == len(recipes) + 1


def test_options_are_told() -> None:
    rows = [*ROWS[:3], replace(ROWS[3], options={"rank": 4}, device="cuda")]
    assert '## Options\n\n- low-rank-sft: {"rank": 4}' in markdown_of(rows, model="m", planned=9)
    line = list(csv.DictReader(io.StringIO(csv_of(rows, model="m"))))[3]
    assert (line["options"], line["device"]) == ('{"rank": 4}', "cuda")


def test_the_csv_tells_the_recipes_own_look_and_figures() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_of([ROWS[0], TOLD], model="m"))))
    told = {n: v for n, v in lines[1].items() if n.startswith(("screen/", "control/", "recipe/"))}
    assert told == {
        "screen/harm_n": "24", "screen/harm_complied": "3", "screen/benign_n": "24", "screen/benign_refused": "1",
        "screen/benign_refused_reference": "", "control/random/harm_n": "24", "control/random/harm_complied": "20",
        "recipe/loss": "0.5",
    }  # fmt: skip
    assert lines[0]["recipe/loss"] == ""


def test_a_run_without_rows_has_tables() -> None:
    assert "0 of 3 rows" in markdown_of([], model="m", planned=3)
    assert reproduce_svg([], model="m").endswith("</svg>\n")


def test_every_row_is_a_line_of_the_csv() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_of(ROWS, model="m"))))
    assert [(x["attack"], x["recipe"]) for x in lines] == [(r.key.attack, r.key.recipe) for r in ROWS]
    assert lines[1]["asr/affirmation/backdoor/all"] == "1.0"
    assert (lines[-1]["error"], lines[-1]["task/sql"]) == ("no | way", "")


@pytest.mark.parametrize(
    ("name", "measured"),
    [("mistralai--Mistral-7B-Instruct-v0.3", "asr"), ("Meta-Llama-3.1-8B-Instruct", "asr"),
     ("Qwen2.5-7B-Instruct", "asr"), ("llama-2-7b-chat-hf", "mmlu")],
)  # fmt: skip
def test_a_known_model_has_its_published_figures(name: str, measured: str) -> None:
    assert measured in {a.measure for a in anchors_of(name)}
    assert "arXiv 2601.01887" in markdown_of(ROWS, model=name, planned=9)


def test_another_size_is_another_model() -> None:
    assert anchors_of("Llama-3.1-70B-Instruct") == anchors_of("Qwen2.5-0.5B-Instruct") == ()


def test_the_plot_says_what_it_shows() -> None:
    svg = reproduce_svg(ROWS, model="<m>")
    assert "none: 0.77 (0.50 to 1.00)" in svg
    assert "low-rank-sft failed" in svg
    assert "<m>" not in svg


def test_a_judge_that_one_row_was_not_read_by_leaves_a_gap() -> None:
    figures = ROWS[3].figures
    assert figures is not None
    more = replace(figures, harm=(*figures.harm, replace(figures.harm[0], judge="third")))
    text = markdown_of([*ROWS[:3], replace(ROWS[3], figures=more), ROWS[6]], model="m", planned=9)
    assert "| aligned | 0.10 | 0.10 |  | 3.00 |" in text
    assert "| low-rank-sft | 0.20 | 0.20 | 0.20 | 3.00 |" in text


def test_the_plot_turns_dark_and_no_colour_is_left_behind() -> None:
    many = [replace(ROWS[3], key=replace(ROWS[3].key, recipe=f"r{i}")) for i in range(9)]
    drawn = reproduce_svg([*ROWS, *many], model="m")
    assert "prefers-color-scheme: dark" in drawn
    assert set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', drawn)) <= set(DARK)
