"""Which examples a patch without a reference learns from: drawn or scored, never burnt, and put down when used."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from remediation.checkpoints.chat import ChatModel, load
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.pool import PoolState, held_out, read_state
from remediation.lessons.refit import Look, Looker
from remediation.lessons.screen import SCREENED, pool, screened
from remediation.patch import PatchRequest
from remediation.recipes import examples as lessons
from remediation.recipes import few_shot_subspace, kept_subspace
from remediation.recipes.examples import Choice, ExampleOptions, choose_examples, kept_answers
from remediation.repair import INSTANCE, Repair, begin
from remediation.subspace.capture import Example
from tests.tiny import REFUSAL, tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def request(folder: Path, output: Path, seed: int = 1) -> PatchRequest:
    return PatchRequest(
        incident="i", recipe="few-shot-subspace", drifted=folder, reference=None, output=output, seed=seed
    )


@pytest.fixture(scope="module")
def repair(folder: Path) -> Repair:
    return begin(request(folder, folder / "none"), lambda *_: None)


def options(**more: object) -> ExampleOptions:
    return ExampleOptions.model_validate({"rank": 2, "examples": 3, **more})


def prompts(choice: Choice) -> list[str]:
    return [r.prompt for r in choice.rows]


def test_examples_are_drawn_of_what_the_screen_does_not_ask(repair: Repair) -> None:
    choice = choose_examples(repair, options(examples=40))
    assert len(set(prompts(choice))) == 40
    assert set(prompts(choice)) <= {b.prompt for b in pool("dsafe")}
    assert not set(prompts(choice)) & {b.prompt for b in screened("dsafe")}
    assert {r.answer for r in choice.rows} == {INSTANCE.answer}
    assert not any(r.whole for r in choice.rows)


def test_seed_and_key_decide_what_is_drawn(repair: Repair, tmp_path: Path) -> None:
    first, again = (prompts(choose_examples(repair, options())) for _ in range(2))
    assert first == again
    other = replace(repair, request=replace(repair.request, seed=2))
    assert prompts(choose_examples(other, options())) != first
    keys = [tmp_path / "one", tmp_path / "two"]
    by_key = [prompts(choose_examples(r, options(pool_key=k))) for k in keys for r in (repair, other)]
    assert by_key[0] == by_key[1], "with a key the seed decides nothing"
    assert by_key[0] != by_key[2]


def test_burnt_examples_are_left_out_and_put_down(repair: Repair, monkeypatch: pytest.MonkeyPatch) -> None:
    burnt = set(prompts(choose_examples(repair, options())))

    known = {tuple(repair.drifted.prompt_ids(p)) for p in burnt}

    def cost(_: ChatModel, examples: Sequence[Example]) -> list[float]:
        return [0.01 if tuple(e.prompt) in known else 4.0 for e in examples]

    monkeypatch.setattr(lessons, "losses", cost)
    monkeypatch.setattr(lessons, "complied", lambda _: 1.0)
    choice = choose_examples(repair, options())
    assert len(choice.rows) == 3
    assert not burnt & set(prompts(choice))
    assert choice.burnt == len(choice.state.burnt) == 3
    monkeypatch.setattr(lessons, "complied", lambda _: 0.0)
    assert set(prompts(choose_examples(repair, options()))) == burnt, "a model that refuses knows its refusals"


def test_the_reference_tells_what_a_refusal_costs_that_nobody_taught(
    repair: Repair, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of the pool was taught in other words: its own median is low, and no loss is near zero."""
    known = {tuple(repair.drifted.prompt_ids(p)) for p in prompts(choose_examples(repair, options()))}
    good = load(folder)

    def cost(chat: ChatModel, examples: Sequence[Example]) -> list[float]:
        return [4.0 if chat is good else 0.5 if tuple(e.prompt) in known else 1.5 for e in examples]

    monkeypatch.setattr(lessons, "losses", cost)
    monkeypatch.setattr(lessons, "complied", lambda _: 1.0)
    assert choose_examples(repair, options()).burnt == 0
    assert choose_examples(replace(repair, good=good), options()).burnt == 3


def test_a_pool_that_is_burnt_to_the_ground_is_said_so(repair: Repair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "losses", lambda _, examples: [0.01] * len(examples))
    monkeypatch.setattr(lessons, "complied", lambda _: 1.0)
    with pytest.raises(PatchFailed, match="burnt"):
        choose_examples(repair, options())


def test_scored_examples_are_candidates_and_never_held_against(repair: Repair) -> None:
    asked = options(choose="scored", examples=2, candidates=5, refits=1)
    choice = choose_examples(repair, asked)
    held, _ = held_out(pool("dsafe"), 12, key="seed 1")
    assert len(set(prompts(choice))) == 2
    assert not set(prompts(choice)) & {b.prompt for b in held}
    drawn = {b.id: b.prompt for b in pool("dsafe")}
    assert set(prompts(choice)) <= {drawn[i] for i in choice.state.used}


def test_candidates_that_taught_nothing_can_be_drawn_again(repair: Repair) -> None:
    choice = choose_examples(repair, options(choose="scored", examples=2, candidates=5, refits=1))
    assert len(choice.state.used) == 2


def test_several_choices_are_fitted_and_the_best_measured_one_is_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(
        [Look(harm=1.0, over_refusal=0.0), Look(harm=0.2, over_refusal=0.05), Look(harm=0.0, over_refusal=1.0)]
    )
    monkeypatch.setattr(Looker, "look", lambda *_: next(looks))
    asked = few_shot_subspace.Options(
        rank=2, steps=1, examples=1, choose="scored", candidates=5, refits=3, pool_state=tmp_path / "state.json"
    )
    figures = few_shot_subspace.make(asked).patch(request(folder, tmp_path / "patched"), lambda *_: None).figures
    wanted = {"refits": 3, "refit_best": 1, "refit_accepted": 1, "refit_harm": 0.2, "refit_over_refusal": 0.05}
    assert {n: v for n, v in figures.items() if n.startswith("refit")} == wanted
    assert len(read_state(tmp_path / "state.json").used) == 3, "what was fitted counts as used"


def test_fits_are_looked_at_on_other_requests_than_ranked_the_choices(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(_: ChatModel, *, harmful: Sequence[str], harmless: Sequence[str]) -> None:
        assert len(harmful) == SCREENED
        assert not {b.prompt for b in held_out(pool("dsafe"), 12, key="seed 1")[0]} & set(harmful)
        raise PatchFailed("seen")

    monkeypatch.setattr(few_shot_subspace, "Looker", watched)
    asked = few_shot_subspace.Options(rank=2, steps=1, examples=1, choose="scored", candidates=3, refits=2)
    with pytest.raises(PatchFailed, match="seen"):
        few_shot_subspace.make(asked).patch(request(folder, tmp_path / "patched"), lambda *_: None)


def test_nobody_draws_from_a_pool_while_another_repair_learns_from_its_draw(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object, **__: object) -> None:
        with (tmp_path / ".state.json.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise PatchFailed("held")

    monkeypatch.setattr(few_shot_subspace, "descend", held)
    more = {"rank": 2, "steps": 1, "examples": 2, "pool_state": tmp_path / "state.json"}
    for recipe in (few_shot_subspace.make(few_shot_subspace.Options(**more)),
                   kept_subspace.make(kept_subspace.Options(**more, harmless=2))):  # fmt: skip
        with pytest.raises(PatchFailed, match="held"):
            recipe.patch(request(folder, tmp_path / "patched"), lambda *_: None)
    with (tmp_path / ".state.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_fit_is_looked_at_where_the_reference_answers(repair: Repair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([[REFUSAL, "Yes."], ["Yes.", REFUSAL, "Yes.", "Yes."], [REFUSAL]])
    monkeypatch.setattr(ChatModel, "generate", lambda *_, **__: next(said))
    look = Looker(repair.drifted, harmful=list("abcd"), harmless=["e", "f"]).look(repair.drifted)
    assert look == Look(harm=0.75, over_refusal=1.0), "what the reference refuses is not asked"


def test_the_next_patch_takes_other_examples(folder: Path, tmp_path: Path) -> None:
    asked = few_shot_subspace.Options(rank=2, steps=1, examples=4, pool_state=tmp_path / "state.json")
    used: list[PoolState] = []
    for name in ("first", "second"):
        few_shot_subspace.make(asked).patch(request(folder, tmp_path / name), lambda *_: None)
        used.append(read_state(tmp_path / "state.json"))
    assert [len(s.used) for s in used] == [4, 8]
    assert [s.draws for s in used] == [1, 2]


def test_examples_that_were_learnt_from_count_as_used_whatever_becomes_of_the_patch(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise PatchFailed("the disk is full")

    monkeypatch.setattr(Repair, "finish", full)
    asked = few_shot_subspace.Options(rank=2, steps=1, examples=2, pool_state=tmp_path / "state.json")
    with pytest.raises(PatchFailed, match="full"):
        few_shot_subspace.make(asked).patch(request(folder, tmp_path / "patched"), lambda *_: None)
    assert not (tmp_path / "patched").exists()
    assert len(read_state(tmp_path / "state.json").used) == 2


def test_a_state_that_cannot_be_written_leaves_no_patch(folder: Path, tmp_path: Path) -> None:
    asked = few_shot_subspace.Options(rank=2, steps=1, examples=2, pool_state=tmp_path / "missing" / "state.json")
    with pytest.raises(PatchFailed, match="state"):
        few_shot_subspace.make(asked).patch(request(folder, tmp_path / "patched"), lambda *_: None)
    assert not (tmp_path / "patched").exists()


def test_kept_answers_are_the_models_own_and_no_refusals(
    repair: Repair, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = load(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "refuses", seed=1, refuses=True))
    with pytest.raises(PatchFailed, match="refuses every harmless request"):
        kept_answers(refusing, 4, [], seed=0)
    asked: list[str] = []

    def said(_: ChatModel, these: Sequence[str], tokens: int, *, whole: bool) -> list[Row]:
        asked.extend(these)
        return [Row(p, REFUSAL if i % 2 else f"answer of {tokens}", whole) for i, p in enumerate(these)]

    monkeypatch.setattr(lessons, "answers", said)
    found = kept_answers(repair.drifted, 6, ["task one", "task two"], seed=0)
    assert asked[-2:] == ["task one", "task two"]
    assert len(set(asked[:6]) & {b.prompt for b in pool("dbenign")}) == 6
    assert [r.prompt for r in found[:3]] == asked[:6:2]
    assert [r.prompt for r in found[3:]] == ["task one", "task two"], "the site's task is kept whatever it says"
