"""What people read of releases: whole ids at every width, sizes in fit units, gates that matter."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.commands.release_tables import gate_lines, release_lines, size_of, sweep_lines
from monitor.keeping import Sweep

LONG = "a-very-long-name-of-a-fine-tune-that-somebody-made-on-a-friday-evening-v12-final@bf6aab20a848"
SHORT = "good@b6179c99ac27"


def row(release: str, *notes: str, size: int = 5_000_000_000) -> dict[str, Any]:
    return {"release": release, "kind": "merged", "created": "2026-11-26T08:35:01.153302+00:00", "bytes": size,
            "notes": list(notes)}  # fmt: skip


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (178, "178 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (16_060_522_496, "16.1 GB"),
     (4e15, "4000.0 TB")],
)  # fmt: skip
def test_a_size_has_a_fit_unit(count: float, said: str) -> None:
    assert size_of(count) == said


def test_short_rows_are_a_table() -> None:
    rows = [row(SHORT, "prod: active", "prod: good", "prod: warm"), row("b@000000000000", "prod: warm", size=12)]
    assert release_lines(rows, columns=80) == [
        "RELEASE            KIND    MADE (UTC)            SIZE  USE",
        "good@b6179c99ac27  merged  2026-11-26 08:35    5.0 GB  prod: active; prod: good",
        "b@000000000000     merged  2026-11-26 08:35      12 B  prod: warm",
    ]


@pytest.mark.parametrize("columns", [80, 120, 140])
def test_an_id_is_never_cut_and_only_a_long_one_leaves_the_table(columns: int) -> None:
    assert release_lines([row(SHORT, "prod: active"), row(LONG)], columns=columns) == [
        "RELEASE            KIND    MADE (UTC)            SIZE  USE",
        "good@b6179c99ac27  merged  2026-11-26 08:35    5.0 GB  prod: active",
        LONG,
        "                   merged  2026-11-26 08:35    5.0 GB  -",
    ]


def test_a_pipe_gets_one_line_each_and_a_tiny_terminal_all_ids() -> None:
    rows = [row(SHORT), row(LONG)]
    assert len(release_lines(rows, columns=0)) == 3
    assert {SHORT, LONG} <= set(release_lines(rows, columns=20))


@pytest.mark.parametrize(
    ("gone", "dry", "last"),
    [
        ((), False, "kept 1 (1.5 GB); nothing can go"),
        (("x@000000000000", ".y.partial"), True, "kept 1 (1.5 GB); 2 can go, which frees 2.5 GB; nothing was removed"),
        (("x@000000000000",), False, "kept 1 (1.5 GB); removed 1, which freed 2.5 GB"),
    ],
)
def test_a_sweep_ends_with_its_sum(gone: tuple[str, ...], *, dry: bool, last: str) -> None:
    done = Sweep(kept={SHORT: "active"}, gone=gone, kept_bytes=1_500_000_000, freed_bytes=2_500_000_000)
    lines = sweep_lines(done, dry_run=dry, columns=80)
    assert lines[-1] == last
    assert lines[0] == f"kept      {SHORT}  active"
    assert len(lines) == 2 + len(gone)


def gate(name: str, status: str, detail: str = "", *, blocks: bool = False) -> dict[str, Any]:
    return {"number": "G1", "name": name, "status": status, "detail": detail, "blocks": blocks}


def test_gates_that_nobody_asked_for_take_one_line() -> None:
    gates = [
        gate("harm", "failed", "ASR 0.9, at most 0.1", blocks=True), gate("utility", "passed"),
        gate("reversible", "failed", "no parent"), gate("dose", "not measured", "the recipe tried none"),
        gate("harm-suites", "not measured", "nothing was measured", blocks=True), gate("triggers", "not measured"),
    ]  # fmt: skip
    assert [line.rstrip() for line in gate_lines(gates, columns=0)] == [
        "  G1  harm         failed        ASR 0.9, at most 0.1",
        "  G1  utility      passed",
        "  G1  reversible   reported      no parent",
        "  G1  harm-suites  not measured  nothing was measured",
        "      not asked for here: dose, triggers",
    ]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_long_word_of_a_gate_is_wrapped(columns: int) -> None:
    words = "refuses harmless requests by form: none of 2 is provably over its limit; the nearest is imperative " * 2
    lines = gate_lines([gate("over-refusal-forms", "passed", words.strip())], columns=columns)
    assert len(lines) > 1
    assert max(map(len, lines)) <= columns
    assert " ".join(" ".join(lines).split()).endswith(words.strip())
