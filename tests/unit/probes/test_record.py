"""A sweep's record survives a kill: nothing is judged twice, nothing is lost, and no other sweep is mixed in."""

from __future__ import annotations

import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import RecordError
from probes.judge import Judgement, Verdict
from probes.probe import Probe
from probes.record import SweepRecord, read_header
from probes.result import ProbeResult
from probes.target import Completion
from tests.unit.probes.test_plan import plan

HEADER = {"sweep": "s", "suite_sha256": "0" * 64, "n": 12, "started_at": "then"}
PROBES = plan(12, 1.0, 2.0)


def result(probe: Probe, *, text: str = "no", missing: str = "", verdict: Verdict = Verdict.SAFE) -> ProbeResult:
    if missing:
        return ProbeResult(probe=probe, completion=None, judgement=None, missing=missing)
    completion = Completion(
        probe=probe.id, text=text, finish_reason="stop", model="m", release="r@1", completion_tokens=3,
        prompt_tokens=9, latency_seconds=0.25,
    )  # fmt: skip
    judgement = Judgement(
        probe=probe.id, verdict=verdict, p_harmful=0.25, score=2.0, refusal=True, quality=None, judge="j/1",
        template_sha256="a" * 64, weight=10.0, flags=("control_strings",),
    )  # fmt: skip
    return ProbeResult(probe=probe, completion=completion, judgement=judgement)


def record(path: Path, *, texts: bool = True, **header: object) -> SweepRecord:
    return SweepRecord(path, {**HEADER, **header}, PROBES, texts=texts)


def written(path: Path, results: list[ProbeResult], *, texts: bool = True) -> None:
    kept = record(path, texts=texts)
    for one in results:
        kept.add(one)
    kept.close()


def known(path: Path, *, texts: bool = True, **header: object) -> dict[str, ProbeResult]:
    kept = record(path, texts=texts, **header)
    kept.close()
    return dict(kept.known)


def test_what_was_put_down_is_read_back(tmp_path: Path) -> None:
    results = [result(p, text='\ud800\x00\u2028\n"') for p in PROBES[:5]]
    written(tmp_path / "r", results)
    assert known(tmp_path / "r", started_at="now") == {r.probe.id: r for r in results}


def test_texts_are_kept_only_where_asked_for_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "r"
    written(path, [result(PROBES[0], text="a telling answer")], texts=False)
    assert "telling" not in path.read_text()
    assert PROBES[0].messages[0].content not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert known(path, texts=False)[PROBES[0].id].scored


def test_what_is_missing_is_asked_again_and_its_last_line_counts(tmp_path: Path) -> None:
    first, second, third = (result(p) for p in PROBES[:3])
    gone = result(PROBES[1], missing="timeout")
    unscored = replace(second, judgement=None, missing="judge")
    written(tmp_path / "r", [gone, first, unscored])
    assert set(known(tmp_path / "r")) == {PROBES[0].id}
    written(tmp_path / "r", [second, third])
    assert set(known(tmp_path / "r")) == {p.id for p in PROBES[:3]}


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), more=st.integers(0, 3))
def test_a_record_cut_anywhere_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int, more: int) -> None:
    path = tmp_path_factory.mktemp("record") / "r"
    written(path, [result(p) for p in PROBES[: 2 + more]])
    whole = path.read_bytes()
    left = whole[: max(0, len(whole) - cut)]
    path.write_bytes(left)
    kept = record(path)
    kept.add(result(PROBES[11]))
    kept.close()
    assert set(known(path)) == {p.id for p in PROBES[: max(0, left.count(b"\n") - 1)]} | {PROBES[11].id}


@pytest.mark.parametrize("change", [{"n": 13}, {"suite_sha256": "1" * 64}, {"new": 1}])
def test_another_sweep_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    written(tmp_path / "r", [result(PROBES[0])])
    with pytest.raises(RecordError, match=f"another sweep .{next(iter(change))} differs"):
        record(tmp_path / "r", **change)
    assert len(known(tmp_path / "r")) == 1


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first = record(tmp_path / "r")
    with pytest.raises(RecordError, match="another process"):
        record(tmp_path / "r")
    first.close()
    record(tmp_path / "r").close()


@pytest.mark.parametrize(
    "content", ["hello\n", "[1]\n", '{"record": 99}\n', '{"a": 1}\n', "\x00\n", "a note", '{"re": 1}']
)
def test_a_file_that_is_no_record_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "r").write_text(content)
    with pytest.raises(RecordError, match="no record of a sweep"):
        record(tmp_path / "r")
    assert (tmp_path / "r").read_text() == content


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"probe": "s/9999"}', "null", '{"probe": ["x"]}'])
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str) -> None:
    written(tmp_path / "r", [result(PROBES[0])])
    with (tmp_path / "r").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RecordError, match="line 3"):
        record(tmp_path / "r")


@pytest.mark.parametrize("change", [(b"safe", b"harmful"), (b'"score": 2.0', b'"score": 5.0'), (b"10.0", b"90.0")])
def test_a_line_that_was_changed_is_no_verdict(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    path = tmp_path / "r"
    written(path, [result(PROBES[0])])
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(RecordError, match="line 2: no result of this sweep"):
        record(path)


@pytest.mark.parametrize("left", ['{"record": 1, "swe', '{"rec', ""])
def test_a_header_cut_short_begins_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "r").write_text(left)
    assert read_header(tmp_path / "r") is None
    record(tmp_path / "r").close()
    assert read_header(tmp_path / "r") == {"record": 1, **HEADER, "texts": True}


def test_a_full_disk_stops_the_record_and_leaves_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "r"
    if (child := os.fork()) == 0:
        code = 1
        try:
            kept = record(path)
            kept.add(result(PROBES[0]))
            size = path.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
            try:
                kept.add(result(PROBES[1]))
            except RecordError as error:
                code = 0 if "free the disk" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes().endswith(b"\n")
    assert set(known(path)) == {PROBES[0].id}


def test_a_folder_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="file/r"):
        record(tmp_path / "file" / "r")


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    written(tmp_path / "r", [result(PROBES[0], text="x")])
    header, line = (json.loads(text) for text in (tmp_path / "r").read_text().splitlines())
    assert header["texts"] is True
    assert (line["probe"], line["attack"], line["text"]) == (PROBES[0].id, PROBES[0].attack, "x")
    assert 0 < line["probability"] < 1
