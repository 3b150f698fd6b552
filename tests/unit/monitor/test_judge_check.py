"""Checking a judge round by round: what is asked, what is written, and when a round does not count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.errors import ConfigError, JudgeUnavailable, LogFault, NotMeasured, StaleSeries
from monitor.judge_check import JudgeCheck, accept_judge, check_due, check_judge, gold_set, present_state, row_id
from monitor.judge_series import JudgeRow, RowKind
from monitor.stores.sql import SqlStore
from probes.errors import JudgeError
from probes.judge import Judge, Judgement, Verdict
from probes.judges.cascade import CascadeJudge
from probes.labelled import LabelledReply, LabelledSet, parse_labelled
from probes.probe import Probe
from probes.target import Completion
from probes.testing import COMPLIES, REFUSES, FakeJudge
from tests.fake_site import Clock

HARMFUL, SAFE = 20, 40


def labelled(*, harmful: int = HARMFUL, safe: int = SAFE) -> LabelledSet:
    said = [(f"Ask h{i}", COMPLIES, 1) for i in range(harmful)] + [(f"Ask s{i}", REFUSES, 0) for i in range(safe)]
    rows = [json.dumps(dict(zip(("objective", "assistant_response", "human_score"), s, strict=True))) for s in said]
    return parse_labelled("\n".join(rows), Path("gold.jsonl"))


@dataclass
class Drifting:
    """A fake judge that errs on the replies it is told to."""

    wrong: Callable[[Probe], bool] = lambda _: False
    mute: Callable[[Probe], bool] = lambda _: False
    inner: FakeJudge = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.inner, self.asked = FakeJudge(), Counter[str]()
        self.id, self.template_sha256 = self.inner.id, self.inner.template_sha256

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        return tuple([await self._one(*pair) for pair in pairs])

    async def _one(self, probe: Probe, completion: Completion) -> Judgement:
        self.asked[probe.behavior.prompt] += 1
        (said,) = await self.inner.judge([(probe, completion)])
        if self.mute(probe):
            return replace(said, verdict=Verdict.UNSCORED, p_harmful=None, score=None, why="judge_timeout")
        flipped = {Verdict.HARMFUL: Verdict.SAFE, Verdict.SAFE: Verdict.HARMFUL}[said.verdict]
        return replace(said, verdict=flipped) if self.wrong(probe) else said


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(f"sqlite:///{tmp_path}/s.db")
    yield opened
    opened.close()


def checked(store: SqlStore, judge: Judge, **given: object) -> JudgeCheck:
    fields = {"target": "prod", "labelled": labelled(), "site_key": "secret", "replies": 60, "gamma": 1e4, **given}
    return JudgeCheck(judge=judge, book=store, **fields)  # type: ignore[arg-type]


async def test_the_first_check_shows_each_reply_once(store: SqlStore) -> None:
    judge = Drifting()
    check = checked(store, judge)
    assert not present_state(check).calibrated
    state = await check_judge(check, clock=Clock())
    assert set(judge.asked.values()) == {1}
    assert len(judge.asked) == HARMFUL + SAFE
    assert (state.calibrated, state.frozen, state.n, state.series) == (True, False, 0, 1)
    rows = store.judged("prod")
    assert {r.kind for r in rows} == {RowKind.CALIBRATION}
    assert [r.position for r in rows] == list(range(1, 61))
    assert Counter(r.label for r in rows) == {True: HARMFUL, False: SAFE}
    assert present_state(check) == state, "the state is the fold over the book"


async def test_a_round_is_drawn_with_replacement_and_by_key(store: SqlStore, tmp_path: Path) -> None:
    drawn = []
    for key in ("secret", "secret", "other"):
        book = SqlStore(f"sqlite:///{tmp_path}/{len(drawn)}.db")
        check = checked(book, Drifting(), site_key=key)
        for _ in range(3):
            await check_judge(check, clock=Clock())
        drawn.append([r.row for r in book.judged("prod") if r.kind is RowKind.CHECK])
        book.close()
    first, again, other = drawn
    assert first == again, "the same for the same key and place"
    assert first != other
    assert first[:60] != first[60:], "each round draws anew"
    assert len(first) == 120
    assert len(set(first[:60])) < 60, "with replacement"


async def test_a_drifted_judge_freezes_and_a_person_lets_it_go_on(store: SqlStore) -> None:
    clock, judge = Clock(), Drifting()
    check = checked(store, judge)
    await check_judge(check, clock=clock)
    for _ in range(5):
        assert not (await check_judge(check, clock=clock)).frozen
    judge.wrong = lambda probe: probe.behavior.prompt.startswith("Ask s") and probe.behavior.prompt[-1] in "123"
    state = await check_judge(check, clock=clock)
    state = state if state.frozen else await check_judge(check, clock=clock)
    assert state.frozen
    assert "calls more safe replies harmful" in state.why
    judge.wrong = lambda _: False
    assert (await check_judge(check, clock=clock)).frozen, "until a person looked"
    accept_judge(store, "prod", gamma=1e4, by="ann", at=clock())
    state = present_state(check)
    assert (state.frozen, state.calibrated) == (False, False)
    assert "accepted by ann" in state.why
    state = await check_judge(check, clock=clock)
    assert (state.series, state.calibrated, state.frozen, state.position) == (2, True, False, 60)
    with pytest.raises(ConfigError, match="not frozen"):
        accept_judge(store, "prod", gamma=1e4, by="ann", at=clock())


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, judge=FakeJudge(id="fake/2")),
        lambda c: replace(c, judge=FakeJudge(template_sha256="1" * 64)),
        lambda c: replace(c, labelled=labelled(safe=SAFE + 1)),
    ],
)
async def test_another_judge_or_set_is_another_series(
    store: SqlStore, change: Callable[[JudgeCheck], JudgeCheck]
) -> None:
    check = checked(store, Drifting())
    await check_judge(check, clock=Clock())
    await check_judge(check, clock=Clock())
    other = change(check)
    assert present_state(other).why == "not checked yet"
    state = await check_judge(other, clock=Clock())
    assert (state.series, state.n, state.calibrated) == (2, 0, True)
    assert {r.series for r in store.judged("prod")} == {2}


async def test_too_many_missing_make_no_round(store: SqlStore) -> None:
    judge = Drifting()
    check = checked(store, judge)
    await check_judge(check, clock=Clock())
    before = store.judged("prod")
    judge.mute = lambda probe: int(probe.id[-5:]) < 4
    with pytest.raises(NotMeasured, match=r"scored 56 of 60 labelled replies \(judge_timeout 4\)") as caught:
        await check_judge(check, clock=Clock())
    assert not isinstance(caught.value, JudgeUnavailable)
    assert store.judged("prod") == before
    judge.mute = lambda probe: int(probe.id[-5:]) < 3
    state = await check_judge(check, clock=Clock())
    assert (state.n, state.missing) == (57, 3)


async def test_a_judge_that_is_down_is_unavailable_and_nothing_is_written(store: SqlStore) -> None:
    down = FakeJudge(faults=[JudgeError(why="judge_down")] * 500)
    with pytest.raises(JudgeUnavailable, match=r"scored none of 60.*judge_down 60"):
        await check_judge(checked(store, down), clock=Clock())
    assert store.judged("prod") == ()


async def test_a_reply_that_calibration_did_not_score_is_drawn_no_more(store: SqlStore) -> None:
    judge = Drifting(mute=lambda probe: probe.behavior.prompt == "Ask s0")
    check = checked(store, judge, replies=500)
    state = await check_judge(check, clock=Clock())
    assert (state.specificity.n, state.specificity.missing) == (39, 1)
    judge.mute, judge.asked = lambda _: False, Counter()
    await check_judge(check, clock=Clock())
    assert "Ask s0" not in judge.asked
    assert len(judge.asked) == 59


async def test_a_judge_that_can_not_get_worse_is_refused(store: SqlStore) -> None:
    judge = Drifting(wrong=lambda probe: probe.behavior.prompt.startswith("Ask h"))
    with pytest.raises(NotMeasured, match="misses all 20 harmful replies"):
        await check_judge(checked(store, judge), clock=Clock())
    assert store.judged("prod") == ()


async def test_two_checks_at_once_leave_one_round(store: SqlStore) -> None:
    class Racing(Drifting):
        async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
            if not store.judged("prod"):
                await check_judge(checked(store, FakeJudge()), clock=Clock())
            return await super().judge(pairs)

    with pytest.raises(StaleSeries, match="position 1 in between"):
        await check_judge(checked(store, Racing()), clock=Clock())
    assert len(store.judged("prod")) == 60


async def test_a_gap_in_the_book_is_named(store: SqlStore) -> None:
    class Gap(SqlStore):
        def judged(self, target: str) -> tuple[JudgeRow, ...]:
            rows = store.judged(target)
            return (*rows[:7], *rows[8:])

    check = checked(store, FakeJudge())
    await check_judge(check, clock=Clock())
    broken = replace(check, book=Gap.__new__(Gap))
    with pytest.raises(LogFault, match="target prod, series 1, position 9"):
        present_state(broken)
    with pytest.raises(LogFault, match="position 9"):
        await check_judge(broken, clock=Clock())


async def test_a_cascade_draws_its_audits_anew_in_each_round(store: SqlStore) -> None:
    """Else the same places would be audited for ever, and the misses there be no draw at all."""
    audited: list[set[str]] = []

    class Auditing(Drifting):
        async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
            audited[-1].update(p.id[-5:] for p, _ in pairs if cascade.audits(p.id))
            return await super().judge(pairs)

    cascade = CascadeJudge(cheap=FakeJudge(), strong=FakeJudge(), audit_ratio=0.3, key="secret")
    check = checked(store, Auditing())
    for _ in range(3):
        audited.append(set())
        await check_judge(check, clock=Clock())
    assert len({frozenset(a) for a in audited}) == 3


async def test_when_the_next_round_is_due(store: SqlStore) -> None:
    clock = Clock()
    check = checked(store, FakeJudge())
    assert check_due(present_state(check), hours=24, now=clock.now)
    state = await check_judge(check, clock=clock)
    assert state.checked_at is not None
    assert not check_due(state, hours=24, now=state.checked_at + timedelta(hours=23.9))
    assert check_due(state, hours=24, now=state.checked_at + timedelta(hours=24))
    assert check_due(state, hours=24, now=state.checked_at - timedelta(hours=3)), "the clock was set back"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective,assistant_response,human_score\na,b,1", r"judge_check.labelled: .* has 1 harmful and 0 safe"),
        ("prompt,completion,final_label\na,b,2_full_refusal", "says who refused"),
        ("objective,assistant_response\na,b", "no column of human labels"),
        ("", "no labelled replies"),
    ],
)
def test_replies_that_say_nothing_of_a_judge(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gold.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        gold_set(tmp_path / "gold.csv", where="judge_check.labelled")


def test_a_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        gold_set(tmp_path / "none.csv", where="x")


def test_a_reply_is_named_without_its_text() -> None:
    ids = {row_id(LabelledReply(objective=o, reply=r, label=1)) for o, r in [("ab", "c"), ("a", "bc"), ("a\ud800", "")]}
    assert len(ids) == 3
    assert all(len(i) == 16 for i in ids)
