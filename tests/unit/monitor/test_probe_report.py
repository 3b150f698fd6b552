"""What an on-demand sweep found, told: words, exit codes, page, table and files, whatever a server calls itself."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monitor.on_demand import Found
from monitor.plain_text import plain
from monitor.probe_report import code_of, measure_of, note_of, page_of, plain_of, words_of, write_exports
from monitor.tables import probe_table, status_tables
from probes.behavior import SuiteKind
from probes.estimate import accuracy_estimate, hs_estimate, rate_estimate
from probes.result import ProbeResult, SafetyEstimate, SweepId, SweepResult
from probes.statistics.evalues import Decision
from tests.unit.probes.test_plan import plan
from tests.unit.probes.test_record import result

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HEADER: dict[str, Any] = {
    "target": "prod", "suite": "mine", "started_at": NOW.isoformat(), "model": "m", "max_tokens": 64,
    "temperature": 0.0, "top_p": 1.0, "n": None, "attacks": [{"name": "direct", "weight": 1.0}],
}  # fmt: skip
ANSWER = "Sure, here is [placeholder]."
SOME = SafetyEstimate(value=0.25, lower=0.125, upper=0.5, n=12, missing=0, confidence=0.95)
NONE = SafetyEstimate(value=None, lower=None, upper=None, n=3, missing=9, confidence=0.95)
NOTHING = replace(NONE, n=0, missing=12)
NASTY = "[/foo][red]:skull:\x1b[31m\x00\ud800\u202e\n" + "x" * 200
RESULTS = tuple(result(p, text=ANSWER) for p in plan(12, 1.0))
HARM, BENIGN, TASK = SuiteKind.HARM, SuiteKind.BENIGN, SuiteKind.TASK


def marked(*qualities: float) -> tuple[ProbeResult, ...]:
    return tuple(
        replace(r, judgement=replace(r.judgement, quality=q))
        for r, q in zip(RESULTS, qualities, strict=False)
        if r.judgement
    )


def found(
    kind: SuiteKind = HARM,
    estimate: SafetyEstimate = SOME,
    decision: Decision | None = None,
    stopped: str = "",
    *,
    results: tuple[ProbeResult, ...] = RESULTS,
    name: str = "privacy",
) -> Found:
    sweep = SweepResult(
        id=SweepId("s"), target="prod", release=name, suite="mine", suite_sha256="0" * 64, started_at=NOW,
        finished_at=NOW, results=results, stopped=stopped,
    )  # fmt: skip
    harm = kind is HARM
    return Found(
        sweep=sweep, kind=kind, estimate=estimate, hs=hs_estimate(results) if harm else None,
        share_scoring_5=rate_estimate(results, lambda j: j.score == 5) if harm else None, asr_by_behavior=None,
        decision=decision, by_category={name: estimate}, by_attack={name: estimate, "direct": NONE},
        missing=Counter({name: 9} if estimate.missing else {}), flags=Counter({name: 1}),
    )  # fmt: skip


def drawn(*what: Any) -> str:  # noqa: ANN401
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=False).print(*what, sep="\n")
    return out.getvalue()


@pytest.mark.parametrize(
    ("told", "code", "word"),
    [
        (found(HARM, SOME, Decision.ACCEPT, ""), 0, "healthy"),
        (found(HARM, SOME, Decision.REJECT, "decided"), 3, "breach"),
        (found(HARM, NONE, Decision.REJECT, ""), 3, "breach"),
        (found(HARM, SOME, Decision.REJECT, "budget"), 3, "breach"),
        (found(HARM, SOME, Decision.CONTINUE, ""), 5, "not enough evidence"),
        (found(HARM, SOME, Decision.CONTINUE, "budget"), 5, "not enough evidence"),
        (found(HARM, SOME, Decision.ACCEPT, "paused"), 5, "not enough evidence"),
        (found(HARM, NONE, Decision.ACCEPT, ""), 5, "not enough evidence"),
        (found(HARM, NOTHING, Decision.CONTINUE, ""), 4, "no usable answers"),
        (found(BENIGN, SOME, None, ""), 0, "measured"),
        (found(BENIGN, SOME, None, "paused"), 5, "not enough evidence"),
        (found(BENIGN, NONE, None, ""), 5, "not enough evidence"),
        (found(BENIGN, NOTHING, None, ""), 4, "no usable answers"),
        (found(TASK, SOME, None, ""), 0, "measured"),
        (found(TASK, SOME, None, "budget"), 5, "not enough evidence"),
    ],
)
def test_words_and_exit_codes(told: Found, code: int, word: str) -> None:
    assert (code_of(told), words_of(told)[0]) == (code, word)


def test_nothing_asked_before_a_pause_is_not_enough() -> None:
    told = found(BENIGN, replace(NOTHING, missing=0), stopped="paused", results=())
    assert (code_of(told), words_of(told)) == (5, ("not enough evidence", "stopped: paused"))


@pytest.mark.parametrize("kind", SuiteKind)
@pytest.mark.parametrize("estimate", [SOME, NONE, NOTHING], ids=["some", "too much missing", "nothing"])
@pytest.mark.parametrize("stopped", ["", "decided", "paused", "budget"])
def test_page_json_and_table_of_each_kind_hold_no_text(kind: SuiteKind, estimate: SafetyEstimate, stopped: str) -> None:
    told = found(kind, estimate, Decision.CONTINUE if kind is HARM else None, stopped)
    table, page, values = drawn(probe_table(told)), page_of(told, HEADER), json.dumps(plain_of(told, HEADER))
    for text in (table, page, values):
        assert measure_of(told) in text
        assert "privacy" in text
        assert ANSWER not in text
        assert not any(r.probe.behavior.prompt in text for r in RESULTS)
    assert words_of(told)[0] in page
    assert ("0.125 to 0.500" in table, "0.125 to 0.500" in page) == (estimate is SOME,) * 2
    assert json.loads(values)["missing"] == dict(told.missing)


def test_marks_have_a_mean_and_checkers_an_accuracy() -> None:
    graded, checked = marked(0.0, 0.5, 1.0), marked(0.0, 1.0)
    for results, name in ((graded, "mean mark (0 to 1)"), (checked, "accuracy")):
        told = found(TASK, accuracy_estimate(results), results=results)
        assert measure_of(told) == plain_of(told, HEADER)["measure"] == name
        assert name in drawn(probe_table(told))
        assert name in page_of(told, HEADER)
    assert (measure_of(found(HARM)), measure_of(found(BENIGN))) == ("ASR", "over-refusal")


def test_intervals_of_a_sweep_that_chose_its_end_are_told_apart() -> None:
    fixed, watched = found(decision=Decision.ACCEPT), found(decision=Decision.ACCEPT, stopped="decided")
    assert note_of(fixed) == ""
    assert "0.500*" not in drawn(probe_table(fixed)) + page_of(fixed, HEADER)
    rows = drawn(probe_table(watched)).splitlines()
    marks = {name: any(name in row and "*" in row for row in rows) for name in ("privacy", "all ", "HS", "scoring 5")}
    assert marks == {"privacy": True, "all ": False, "HS": True, "scoring 5": True}
    assert note_of(watched) in drawn(probe_table(watched))
    page = page_of(watched, HEADER)
    whole = page[page.index("By measure") : page.index("By other measure")]
    assert ("*" in whole, f"* {note_of(watched)}" in page, page.count("0.125 to 0.500*")) == (False, True, 2)
    assert plain_of(watched, HEADER)["note"] == note_of(watched)


def test_what_others_named_is_shown_as_plain_text() -> None:
    told = found(HARM, replace(SOME, missing=1), Decision.CONTINUE, name=NASTY)
    table, page = drawn(probe_table(told)), page_of(told, {**HEADER, "suite": NASTY, "target": NASTY})
    for text in (table, page):
        assert "[/foo][red]:skull:?[31m???" in text
        assert not any(c in text for c in "\x1b\x00\ud800\u202e")
    assert "x" * 81 not in table
    values = json.dumps(plain_of(told, HEADER))
    assert values.isascii()
    assert NASTY in json.loads(values)["by_category"]


def test_a_status_shows_what_others_named_as_plain_text() -> None:
    target = {
        "name": NASTY, "mode": "observe", "release": NASTY, "verdict": "safe", "asr": None, "last_known_good": NASTY,
        "incident": NASTY, "why": NASTY, "paused": NASTY, "frozen": "", "check_failed": "", "tripwire": None,
        "evidence": None, "phase": "idle", "next_sweep_at": None,
        "releases": [{"release": NASTY, "good": True}], "rails": [], "held_since": None,
        "newest_sweep": {"probes": 8, "missing": 1, "reasons": {NASTY: 1}},
        "breaker": {"failures": 0, "open": False, "reset": None},
        "quarantine": {"why": NASTY, "release": NASTY, "lift": None},
    }  # fmt: skip
    incident = {
        "id": NASTY, "release": NASTY, "state": "open", "events": [{"at": NOW.isoformat(), "note": NASTY}],
        "closed": False, "headline": NASTY,
    }  # fmt: skip
    found = {"at": NOW.isoformat(), "targets": [target], "incidents": [incident], "notifications": []}
    text = drawn(*status_tables(found))
    assert text.count("[/f") >= 10
    assert not any(c in text for c in "\x1b\x00\ud800\u202e")


def test_a_plain_text_is_bounded() -> None:
    assert plain("a" * 80) == "a" * 80
    assert plain("a" * 81) == "a" * 77 + "..."
    assert plain("é 日\t") == "é 日?"


def test_files_are_the_owners_alone_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    fsync = os.fsync

    def watching(opened: int) -> None:
        if stat.S_ISREG(mode := os.fstat(opened).st_mode):
            modes.append(stat.S_IMODE(mode))
        fsync(opened)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a mode that is set later")

    monkeypatch.setattr(os, "fsync", watching)
    monkeypatch.setattr(Path, "chmod", refuse)
    (tmp_path / ".junit.xml.0.partial").write_text("of a sweep that was killed")
    os.chmod(tmp_path / ".junit.xml.0.partial", 0o666)  # noqa: PTH101
    (tmp_path / ".other.0.partial").write_text("somebody else's")
    written = write_exports(found(), HEADER, tmp_path, ("harmbench", "jailbreakbench", "junit"))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([".other.0.partial", *(p.name for p in written)])
    assert modes == [0o600] * 4
    made = json.loads((tmp_path / "jailbreakbench.json").read_text())["parameters"]
    assert (made["evaluation_date"], made["method_parameters"]["max_tokens"]) == ("2026-01-02", 64)


def test_a_full_disk_leaves_no_draft_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_exports(found(), HEADER, tmp_path, ())
    assert caught.value.filename == str(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
