"""A sketch that lives on over updates, made of tiny real models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.checkpoint import import_checkpoint
from deploy.errors import CheckpointError
from remediation.checkpoints.chat import load
from remediation.checkpoints.modules import matrices
from remediation.errors import SketchError, WorkerDied
from remediation.lessons.screen import pool
from remediation.living_subspace import CONTROLS, SUMMARY, Measured, UpdateRequest, read_summary, run_update
from remediation.subspace import living, sketch_store
from remediation.subspace.coverage import fresh_sketch, left_out_bases, merged
from remediation.subspace.draws import draws_of, is_held
from remediation.subspace.factor import overlap
from remediation.subspace.living import update
from remediation.subspace.sketch_store import locked, read_sketch
from tests.tiny import mixture_checkpoint, tiny_checkpoint

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
TWO = ("malware", "self_harm")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model", hidden=64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("sketch") / "sketch"
    update(UpdateRequest(model=model, sketch=folder, at=AT, categories=TWO, per_category=2, rank=4), quiet)
    return folder


@pytest.fixture
def request_(made: Path, model: Path, tmp_path: Path) -> UpdateRequest:
    """An update of a copy of the sketch."""
    shutil.copytree(made, tmp_path / "sketch")
    return UpdateRequest(model=model, sketch=tmp_path / "sketch", at=AT, categories=TWO, per_category=2)


def quiet(stage: str, share: float) -> None:
    assert 0.0 <= share <= 1.0


def shares(measured: Measured) -> Iterator[float]:
    for one in (measured.requests, *measured.controls.values()):
        yield from (one.left, one.right, one.both)


def test_a_first_update_measures_each_category_beside_its_controls(made: Path, model: Path) -> None:
    summary, sketches = read_sketch(made) or pytest.fail("no sketch")
    (entry,) = summary.updates
    assert (entry.at, entry.drift, summary.rank, summary.rows) == (AT, None, 4, 8)
    assert summary.sketched == {"malware": 2, "self_harm": 2}
    assert sorted(entry.categories) == list(TWO)
    for found in entry.categories.values():
        assert (found.sketched, found.held, found.before) == (2, 1, None)
        assert tuple(found.inside.controls) == CONTROLS
        assert all(0.0 <= s <= 1.0 for s in shares(found.inside))
        assert found.left_out is not None
        assert found.left_out.requests.both <= found.inside.requests.both + 0.05
    assert entry.overall.requests.both > 3 * entry.overall.controls["random subspace"].both
    linears = load(model).linears()
    assert {m.module for m in summary.modules} == set(sketches) == set(linears)
    assert sum(m.share for m in summary.modules) == pytest.approx(1.0)
    assert sketches["model.layers.0.mlp.up_proj"].left.rows.shape == (8, 128)
    whole = sum(s.left.energy for s in sketches.values())
    assert whole == pytest.approx(4.0, rel=1e-4)  # every request counts as 1


def test_the_release_is_that_of_the_store(made: Path, model: Path, tmp_path: Path) -> None:
    release = import_checkpoint(model, tmp_path, name="m", created_at=AT)
    assert read_summary(made).updates[0].release == release.manifest.digest


def test_a_second_update_takes_other_requests_and_says_how_far_it_moved(request_: UpdateRequest) -> None:
    said: list[str] = []
    summary = update(replace(request_, keep=0.5), lambda stage, _: said.append(stage))
    first, second = summary.updates
    assert second.drift is not None
    for side in (second.drift.left, second.drift.right):
        assert side.chance < side.fresh <= 1.0
        assert side.fresh < side.state <= 1.0
        assert 0.0 < side.fresh_angle < 90.0
    # the held requests are the same, and so is the sketch that they were measured in
    assert {c: m.before for c, m in second.categories.items()} == {c: m.inside for c, m in first.categories.items()}
    assert summary.sketched == {"malware": 4, "self_harm": 4}
    _, sketches = read_sketch(request_.sketch) or pytest.fail("no sketch")
    assert sum(s.left.energy for s in sketches.values()) == pytest.approx(0.5 * 4 + 4, rel=1e-4)
    assert first.drift is None
    assert {"load", "sketch", "measure", "compare", "write"} <= set(said)
    assert len(list(request_.sketch.glob("*.safetensors"))) == 1


def test_weights_that_drifted_are_told_from_weights_that_did_not(request_: UpdateRequest, tmp_path: Path) -> None:
    same = update(request_, quiet).updates[-1].drift
    other = tiny_checkpoint(tmp_path / "other", seed=5, hidden=64)
    moved = update(replace(request_, model=other), quiet).updates[-1].drift
    assert same is not None
    assert moved is not None
    assert moved.left.fresh < 0.6 * same.left.fresh
    assert moved.left.fresh < moved.left.resampled
    assert same.left.fresh > same.left.resampled


def test_a_new_category_is_measured_before_it_is_added(request_: UpdateRequest) -> None:
    found = update(replace(request_, categories=("fraud_deception",)), quiet)
    (new,) = found.updates[-1].categories.values()
    assert new.before is not None
    assert new.left_out is None  # no other category came in
    assert new.before.requests != new.inside.requests
    assert found.sketched["fraud_deception"] == 2


def test_a_process_that_dies_between_its_writes_leaves_the_old_sketch(
    request_: UpdateRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (request_.sketch / SUMMARY).read_bytes()
    write = sketch_store.write_whole

    def dies(file: Path, content: str | bytes) -> None:
        if file.name == SUMMARY:
            file.with_name(f".{file.name}.0.partial").write_bytes(b"half")
            raise KeyboardInterrupt
        write(file, content)

    monkeypatch.setattr(sketch_store, "write_whole", dies)
    with pytest.raises(KeyboardInterrupt):
        update(request_, quiet)
    assert (request_.sketch / SUMMARY).read_bytes() == before
    assert len(read_sketch(request_.sketch)[0].updates) == 1  # type: ignore[index]
    monkeypatch.undo()
    assert len(update(request_, quiet).updates) == 2
    assert sorted(p.suffix for p in request_.sketch.iterdir()) == ["", ".json", ".safetensors"]


def test_a_full_disk_is_named(request_: UpdateRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, content: str | bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sketch_store, "write_whole", full)
    with pytest.raises(SketchError, match=r"No space left on device.*as it was"):
        update(request_, quiet)
    assert len(read_summary(request_.sketch).updates) == 1


def test_another_model_is_refused(request_: UpdateRequest, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "other", hidden=32)
    with pytest.raises(SketchError, match=r"the sketch is of another model than .*own --sketch"):
        update(replace(request_, model=other), quiet)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"categories": ("malwear",)}, "no category 'malwear'; there are: adult_content, "),
        ({"suite": "harm_probe"}, "only ever probe"),
        ({"suite": "missing.jsonl"}, "missing.jsonl"),
        ({"rank": 7}, "has rank 4, not 7"),
    ],
)
def test_what_cannot_be_updated_is_named(request_: UpdateRequest, changed: dict[str, object], message: str) -> None:
    with pytest.raises(SketchError, match=message):
        update(replace(request_, **changed), quiet)  # type: ignore[arg-type]


def test_tensors_that_are_not_those_named_are_refused(request_: UpdateRequest) -> None:
    (file,) = request_.sketch.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(SketchError, match=r"is not the file that summary\.json names"):
        update(request_, quiet)
    file.unlink()
    with pytest.raises(SketchError, match="can't be read"):
        update(request_, quiet)


def test_a_newer_format_is_refused(request_: UpdateRequest) -> None:
    file = request_.sketch / SUMMARY
    file.write_text(json.dumps({"format": 3, "strange": True}))
    with pytest.raises(SketchError, match="format 3 is of a newer alignd"):
        update(request_, quiet)


def test_a_sketch_that_may_hold_what_is_measured_now_is_shown_and_not_updated(request_: UpdateRequest) -> None:
    file = request_.sketch / SUMMARY
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 1}))
    assert read_summary(request_.sketch).format == 1
    with pytest.raises(SketchError, match=r"of an older alignd.*make the sketch anew"):
        update(request_, quiet)


def test_one_update_at_a_time(request_: UpdateRequest) -> None:
    with locked(request_.sketch), pytest.raises(SketchError, match="another update"):
        update(request_, quiet)


def test_a_file_of_requests(request_: UpdateRequest, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"id": f"r{i}", "prompt": f"Pick the lock of door {i}.", "category": "locks"} for i in (5, 6, 7)]
    file.write_text("\n".join(json.dumps(r) for r in rows))
    found = update(replace(request_, suite=str(file), categories=()), quiet)
    assert found.sketched["locks"] == 2
    file.write_text(json.dumps(rows[0]))
    with pytest.raises(SketchError, match=r"'locks': its 1 requests are too few.*add requests"):
        update(replace(request_, suite=str(file), categories=()), quiet)


def test_held_requests_are_never_sketched_and_controls_are_of_equal_length(model: Path) -> None:
    chat = load(model)
    behaviors = {"malware": [b for b in pool("dsafe") if b.category == "malware"]}
    harmless = [b.prompt for b in pool("dbenign")]
    seen, held = set(), set()
    for turn in range(0, 40, 4):
        (draw,) = draws_of(chat, behaviors, harmless, per_category=4, turns={"malware": turn}, seed=0)
        seen |= {t.prompt for t in draw.sketched}
        held |= {h.request.prompt for h in draw.held}
        for one in draw.held:
            refused, answered, random_ = one.controls.values()
            assert refused.answer == one.request.answer
            assert len({len(t.answer) for t in (one.request, refused, answered, random_)}) == 1
            assert len(random_.prompt) == len(one.request.prompt)
            assert abs(len(refused.prompt) - len(one.request.prompt)) <= 5
            assert random_.prompt[:2] == one.request.prompt[:2]  # the template stays
            assert random_.prompt != one.request.prompt
    assert len(held) == 2
    assert not seen & held
    assert len(seen) == sum(not is_held(b) for b in behaviors["malware"])  # all that is not held, in time


def test_a_suite_that_grows_never_has_sketched_requests_held_or_the_reverse(model: Path) -> None:
    chat, harmless = load(model), [b.prompt for b in pool("dbenign")]
    every = [b for b in pool("dsafe") if b.category == "malware"]
    assert 0 < sum(map(is_held, every)) < len(every) / 2
    seen, held = set(), set()
    for size in range(10, len(every) + 1):
        (draw,) = draws_of(
            chat, {"malware": every[:size]}, harmless, per_category=2 * size, turns={"malware": len(seen)}, seed=0
        )
        seen |= {t.prompt for t in draw.sketched}
        held |= {h.request.prompt for h in draw.held}
    assert not seen & held
    assert len(seen | held) == len(every)


def test_a_category_left_out_is_a_merge_of_all_others(model: Path) -> None:
    chat = load(model)
    four = (*TWO, "fraud_deception", "privacy_violation")
    behaviors = {c: [b for b in pool("dsafe") if b.category == c] for c in four}
    draws = draws_of(chat, behaviors, [b.prompt for b in pool("dbenign")], per_category=2, turns={}, seed=0)
    made = {d.category: fresh_sketch(chat, d.sketched, 32, lambda: None) for d in draws}
    found = left_out_bases(made, 4)
    for category in made:
        others = merged([s for c, s in made.items() if c != category])
        for module, basis in found[category].items():
            assert overlap(basis.u, others[module].basis(4).u) > 0.98, module
    assert left_out_bases({"one": made["malware"]}, 4) == {}


def test_a_mixture_of_experts_is_sketched_where_its_texts_came_by(tmp_path: Path) -> None:
    mixture = mixture_checkpoint(tmp_path / "mixture")
    asked = UpdateRequest(model=mixture, sketch=tmp_path / "sketch", at=AT, categories=TWO, per_category=2, rank=4)
    update(asked, quiet)
    summary = update(asked, quiet)
    _, sketches = read_sketch(asked.sketch) or pytest.fail("no sketch")
    assert {m.module for m in summary.modules} == set(sketches) == set(matrices(load(mixture).model))
    assert not all(s.left.energy for s in sketches.values()), "so many experts that some were never asked"
    assert any(s.left.energy for n, s in sketches.items() if ".experts." in n)
    assert sum(m.share for m in summary.modules) == pytest.approx(1.0)
    assert summary.updates[-1].overall.requests.both > summary.updates[-1].overall.controls["random subspace"].both
    assert summary.updates[-1].drift is not None


def test_a_child_process_does_it_too(request_: UpdateRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    summary = run_update(request_, lambda stage, _: said.append(stage))
    assert len(summary.updates) == 2
    assert said[-1] == "sketched 4 requests"
    with pytest.raises(SketchError, match="no such folder"):
        run_update(replace(request_, model=request_.sketch / "nothing"), lambda *_: None)
    assert len(read_summary(request_.sketch).updates) == 2
    monkeypatch.setattr(UpdateRequest, "to_json", lambda self: "{")
    with pytest.raises(WorkerDied, match="no result"):
        run_update(request_, lambda *_: None)


def test_a_model_folder_that_is_none(request_: UpdateRequest, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        update(replace(request_, model=tmp_path / "nothing"), quiet)
    assert living.update is update
