"""``alignd subspace``, without a model: sketches are made of plain values."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from monitor.commands.subspace_svg import subspace_html, subspace_svg
from monitor.commands.subspace_tables import latest, newcomers, subspace_words
from monitor.commands.svg import DARK, GROUND
from remediation import living_subspace
from remediation.errors import SketchError, WorkerDied
from remediation.living_subspace import CONTROLS, SUMMARY, SubspaceSummary, UpdateRequest, read_summary
from tests.unit.monitor.command_line import Alignd, called_in

MODULES = [f"model.layers.{i}.{kind}" for i in range(3) for kind in ("self_attn.q_proj", "mlp.up_proj")]
ODD = "<odd> & [bold]new"


def measured(share: float, *controls: float) -> dict[str, Any]:
    def shares(both: float) -> dict[str, float]:
        return {"left": min(1.0, both + 0.1), "right": min(1.0, both + 0.2), "both": both}

    given = controls or (0.4, 0.3, 0.1, 0.01)
    return {"requests": shares(share), "controls": dict(zip(CONTROLS, map(shares, given), strict=True))}


def category(share: float, *, before: float | None = None, left_out: float | None = 0.5) -> dict[str, Any]:
    return {
        "sketched": 4, "held": 2, "loss": 1.5, "inside": measured(share),
        "left_out": None if left_out is None else measured(left_out),
        "before": None if before is None else measured(before),
    }  # fmt: skip


def side(fresh: float) -> dict[str, float]:
    return {"fresh": fresh, "fresh_angle": 40.0, "state": 0.9, "resampled": 0.6, "chance": 0.02}


def entry(day: int, categories: dict[str, Any], *, overall: dict[str, Any], fresh: float | None) -> dict[str, Any]:
    return {
        "at": datetime(2026, 1, day, 12, 30, tzinfo=UTC).isoformat(), "release": f"{day}" * 64, "model": "/models/m",
        "suite": "dsafe", "categories": categories, "overall": overall, "seconds": 3.0,
        "drift": None if fresh is None else {"left": side(fresh), "right": side(0.7)},
    }  # fmt: skip


def summary(*, overall: dict[str, Any] | None = None, updates: int = 2) -> dict[str, Any]:
    overall = overall or measured(0.8)
    entries = [entry(1, {"malware": category(0.7), "fraud": category(0.6)}, overall=overall, fresh=None)]
    if updates > 1:
        new = {ODD: category(0.9, before=0.55, left_out=None), "fraud": category(0.65, before=0.6)}
        entries.append(entry(2, new, overall=overall, fresh=0.35))
    return {
        "format": 1, "rank": 16, "rows": 32, "tensors": "sketch-0002.safetensors", "tensors_sha256": "0" * 64,
        "identity": {"architecture": "LlamaForCausalLM", "modules": 6, "shapes_sha256": "a", "vocabulary_sha256": "b"},
        "sketched": {"malware": 4, "fraud": 8, ODD: 4},
        "modules": [
            {"module": m, "share": 1 / 6, "inside": measured(0.1 * i), "lost_left": 0.02, "lost_right": 0.03}
            for i, m in enumerate(MODULES)
        ],
        "updates": entries,
    }  # fmt: skip


def parsed(*, overall: dict[str, Any] | None = None, updates: int = 2) -> SubspaceSummary:
    return SubspaceSummary.model_validate(summary(overall=overall, updates=updates))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "subspace").mkdir()
    (tmp_path / "subspace" / SUMMARY).write_text(json.dumps(summary()))
    return tmp_path


@pytest.fixture
def alignd(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    return called_in(folder, monkeypatch, capsys, "subspace")


def test_show_lays_out_categories_beside_controls_and_drift(alignd: Alignd) -> None:
    code, out, err = alignd("show")
    assert (code, err) == (0, "")
    malware = [" ".join(line.split()) for line in out.splitlines() if line.strip().startswith("malware")]
    assert malware == ["malware 4 80.0 90.0 70.0 50.0", "malware 70.0 40.0 30.0 10.0 1.0"]
    when, moved = (line for line in out.splitlines() if line.strip().startswith("2026-01-02 12:30"))
    assert "222222222222" in when
    assert "0.35, 0.70" in moved
    assert "0.60, 0.60" in moved
    assert ODD in out
    assert "q_proj" in out
    assert "U moved further than two draws from one model" in out


@pytest.mark.parametrize("columns", [80, 200])
def test_every_figure_and_name_fits_into_a_terminal_or_a_pipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    code, out, _ = called_in(folder, monkeypatch, capsys, "subspace", columns=columns)("show")
    assert code == 0
    assert "\u2026" not in out
    tables = out.partition("Of the energy")[0].splitlines()
    assert max(map(len, tables)) <= columns
    for whole in ("2026-01-02 12:30", "222222222222", "moved to", "two draws", "0.35, 0.70", "subspace"):
        assert whole in out
    new = next(line for line in tables if line.strip().startswith("<odd>") and "2026-01-02" in line)
    assert new.split()[-6:] == ["55.0", "90.0", "40.0", "30.0", "10.0", "1.0"]


def test_show_needs_no_torch(alignd: Alignd) -> None:
    loaded = set(sys.modules)
    assert alignd("show")[0] == 0
    assert "torch" not in set(sys.modules) - loaded


def test_show_as_json_is_the_summary(alignd: Alignd, folder: Path) -> None:
    code, out, _ = alignd("show", "--json")
    assert code == 0
    assert SubspaceSummary.model_validate_json(out) == read_summary(folder / "subspace")


def test_plots_are_written_self_contained(alignd: Alignd, folder: Path) -> None:
    code, _, err = alignd("show", "--svg", "out/plot.svg", "--html", "out/page.html")
    assert (code, err) == (0, "")
    ET.parse(folder / "out/plot.svg")
    plot = (folder / "out/plot.svg").read_text()
    assert plot.count('width="9" height="9"') == 2  # the newcomer's coverage, and its place in the legend
    page = (folder / "out/page.html").read_text()
    assert "<odd>" not in page
    assert "&lt;odd&gt; &amp; [bold]new, before it came in on 2026-01-02" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    code, _, err = alignd("show", "--svg", "subspace")
    assert code == 2
    assert "--svg: subspace can't be written" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no sketch yet; make one with `alignd subspace update MODEL_FOLDER`"),
        ("{", "is damaged; remove subspace"),
        ("[]", "is damaged"),
        (json.dumps({"format": 1}), "is damaged"),
        (json.dumps({"format": 9, "new": 1}), "format 9 is of a newer alignd, this one reads up to 2"),
        (json.dumps({**summary(), "updates": []}), "is damaged"),
        ('{"format": Infinity}', "is damaged"),
        ("[" * 200_000, "is damaged"),
        (json.dumps({**summary(), "modules": []}), "is damaged"),
        (json.dumps(summary()).replace('"random tokens"', '"tokens"', 1), "is damaged"),
    ],
)
def test_a_sketch_that_cannot_be_read_is_named(alignd: Alignd, folder: Path, text: str | None, message: str) -> None:
    file = folder / "subspace" / SUMMARY
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    code, out, err = alignd("show")
    assert (code, out) == (2, "")
    assert message in err


def test_update_asks_the_child_process(alignd: Alignd, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[UpdateRequest] = []

    def ran(request: UpdateRequest, progress: living_subspace.Progress) -> SubspaceSummary:
        asked.append(request)
        progress("sketch", 0.5)
        return read_summary(request.sketch)

    monkeypatch.setattr(living_subspace, "run_update", ran)
    options = ("--category", "malware", "--category", "fraud", "--per-category", "3", "--rank", "8", "--keep", "0.5")
    code, out, err = alignd("update", "model", *options)
    assert code == 0
    assert "malware" in out
    assert "50%  sketch" in err
    (one,) = asked
    assert (one.model, one.sketch, one.suite) == (folder / "model", Path("subspace"), "dsafe")
    assert (one.categories, one.per_category, one.rank, one.keep) == (("malware", "fraud"), 3, 8, 0.5)
    assert UpdateRequest.from_json(one.to_json()) == one


@pytest.mark.parametrize(("error", "code"), [(SketchError("no category"), 2), (WorkerDied("no result"), 1)])
def test_an_update_that_fails_says_why(
    alignd: Alignd, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fails(*_: object) -> SubspaceSummary:
        raise error

    monkeypatch.setattr(living_subspace, "run_update", fails)
    ended, out, err = alignd("update", "model")
    assert (ended, out) == (code, "")
    assert err == f"alignd: {error}\n"


def test_the_newest_measurement_of_each_category_counts() -> None:
    found = parsed()
    assert latest(found)["fraud"].inside.requests.both == 0.65
    assert [(name, day) for name, day, _ in newcomers(found)] == [(ODD, "2026-01-02")]


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ((0.4, 0.3, 0.1, 0.01), None),
        ((0.79, 0.3, 0.1, 0.01), "so does refusing what is harmless"),
        ((0.79, 0.75, 0.1, 0.01), "a harmless answer does that too"),
        ((0.79, 0.75, 0.74, 0.01), "any text does that"),
    ],
)
def test_a_control_that_does_as_well_is_said(controls: tuple[float, ...], said: str | None) -> None:
    words = " ".join(subspace_words(parsed(overall=measured(0.8, *controls))))
    assert ("Beware" in words) == (said is not None)
    assert said is None or said in words


def test_one_update_and_matrices_without_blocks_are_drawn_too() -> None:
    plain = summary(updates=1)
    plain["modules"] = [{**plain["modules"][0], "module": "proj"}]
    drawn = subspace_svg(SubspaceSummary.model_validate(plain))
    assert "one update so far" in drawn
    assert "tell no blocks apart" in drawn
    ET.fromstring(drawn)
    assert "nothing to compare it with" in subspace_html(parsed(updates=1))


def test_the_plot_and_its_page_turn_dark_and_no_colour_is_left_behind() -> None:
    page = subspace_html(parsed())
    assert page.count("prefers-color-scheme") == 2
    drawn = subspace_svg(parsed())
    assert set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', drawn)) <= set(DARK)
    assert f'svg [fill="{GROUND}"] {{ fill: {DARK[GROUND]}; }}' in drawn


def test_controls_are_drawn_over_the_requests_by_depth() -> None:
    drawn = subspace_svg(parsed())
    by_depth = re.findall(r'<polyline .*stroke="(#[0-9a-f]{6})" stroke-width="(?:5.0|1.5)"', drawn)
    assert by_depth == ["#2563eb", "#b45309", "#0f8a6a", "#64748b", "#94a3b8"]
