"""The shipped suites: whole, digested, and apart from each other and from public sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import combinations
from pathlib import Path

import pytest

from probes.behavior import Behavior, BehaviorId, Partition, SuiteKind
from probes.errors import SuiteError
from probes.suites import BUILTIN, builtin, content_sha256
from probes.suites.overlap import Run, shared_runs, word_runs
from probes.suites.readers import read_suite

POOLS = ("dsafe", "dbenign")
PROBING = tuple(name for name in BUILTIN if name not in POOLS)
PUBLIC = {
    "harmbench_behaviors_text_val.csv": (SuiteKind.HARM,),
    "advbench_harmful_behaviors.csv": (SuiteKind.HARM,),
    "xstest_prompts_even.csv": (SuiteKind.HARM, SuiteKind.BENIGN),
}
OPENERS = {("what", "is", "the", "best", "way", "to"), ("can", "you", "tell", "me", "how", "to")}
"""How questions begin: the only runs that pools and public sets may share, since they say nothing of the request."""
HARM_CATEGORIES = {
    "illegal_activity", "hate_harassment_violence", "malware", "physical_harm", "self_harm", "economic_harm",
    "fraud_deception", "adult_content", "political_campaigning", "privacy_violation", "tailored_professional_advice",
}  # fmt: skip
LOOK_ALIKES = {"homonyms", "figurative_language", "history", "fiction", "safety_questions"}
YOUNG = re.compile(
    r"\b(child|kid|minor|teen|girl\b|girls|boy\b|boys|young|school|pupil|student|daughter|son\b|bedtime)"
)


def shared(
    one: Iterable[Behavior], other: Iterable[Behavior], *, n: int = 6, besides: Collection[Run] = ()
) -> list[str]:
    found = shared_runs(one, other, n=n)
    return [f"{a} and {b}: {' '.join(run)}" for run, (a, b) in found.items() if run not in besides]


def forms(name: str) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for behavior in builtin(name).behaviors:
        found.setdefault(behavior.category, Counter())[behavior.form] += 1
    return found


@pytest.mark.parametrize("name", BUILTIN)
def test_a_builtin_suite_has_its_kind_and_digest(name: str) -> None:
    suite = builtin(name)
    assert (suite.name, suite.kind) == (name, BUILTIN[name])
    assert suite.sha256 == content_sha256(suite.behaviors)
    assert len({b.id for b in suite.behaviors}) == len(suite.behaviors) >= 150
    assert all(re.fullmatch(r"[a-z_]+", b.category) for b in suite.behaviors)


def test_digests_tell_suites_apart_and_ids_are_unique_over_all() -> None:
    suites = [builtin(name) for name in BUILTIN]
    assert len({s.sha256 for s in suites}) == len(suites)
    ids = [b.id for s in suites for b in s.behaviors]
    assert len(set(ids)) == len(ids)


def test_the_digest_covers_what_is_asked() -> None:
    behaviors = builtin("ordinary").behaviors
    assert content_sha256(behaviors) != content_sha256(behaviors[1:])
    assert content_sha256(behaviors) != content_sha256(behaviors[::-1])


@pytest.mark.parametrize(("pool", "suite"), [(p, s) for p in POOLS for s in PROBING])
def test_no_probe_repeats_six_words_of_a_pool_that_recipes_train_on(pool: str, suite: str) -> None:
    assert shared(builtin(pool).behaviors, builtin(suite).behaviors) == []


@pytest.mark.parametrize(("one", "other"), list(combinations(BUILTIN, 2)))
def test_no_prompt_stands_in_two_suites(one: str, other: str) -> None:
    prompts = {b.prompt.casefold() for b in builtin(one).behaviors}
    assert not prompts & {b.prompt.casefold() for b in builtin(other).behaviors}


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("public", PUBLIC)
def test_no_suite_repeats_six_words_of_a_public_set(name: str, public: str, public_data: Callable[[str], Path]) -> None:
    path = public_data(public)
    rows = [b for kind in PUBLIC[public] for b in read_suite(path, kind).behaviors]
    besides = OPENERS if name in POOLS else ()
    assert shared(builtin(name).behaviors, rows, besides=besides) == []


@pytest.mark.parametrize("name", ["dsafe", "harm_probe"])
@pytest.mark.parametrize("public", ["harmbench_behaviors_text_val.csv", "advbench_harmful_behaviors.csv"])
def test_no_harmful_request_repeats_five_words_of_harmbench_or_advbench(
    name: str, public: str, public_data: Callable[[str], Path]
) -> None:
    rows = read_suite(public_data(public), SuiteKind.HARM).behaviors
    assert shared(builtin(name).behaviors, rows, n=5) == []


def test_runs_ignore_case_and_punctuation_and_keep_contractions_whole() -> None:
    one = Behavior(id=BehaviorId("a"), prompt="Don\u2019t stop \u2013 believing, ever!", category="c")
    other = Behavior(id=BehaviorId("b"), prompt="STOP believing. Ever", category="c")
    assert shared_runs([one], [other], n=3) == {("stop", "believing", "ever"): ("a", "b")}
    assert word_runs([one], 4) == {("don\u2019t", "stop", "believing", "ever"): "a"}
    assert word_runs([other], 4) == {}


@pytest.mark.parametrize("name", ["dsafe", "harm_probe"])
def test_harmful_requests_are_balanced_over_the_eleven_categories(name: str) -> None:
    found = forms(name)
    assert set(found) == HARM_CATEGORIES
    totals = [count.total() for count in found.values()]
    assert max(totals) - min(totals) <= 1
    assert all(count["imperative"] >= count["question"] > count.total() / 3 for count in found.values())
    assert sum(totals) == {"dsafe": 256, "harm_probe": 220}[name]


@pytest.mark.parametrize("name", ["benign_edge", "ordinary"])
def test_harmless_prompts_ask_and_order_in_equal_parts(name: str) -> None:
    found = forms(name)
    assert all(count["imperative"] == count["question"] for count in found.values())
    assert sum(count.total() for count in found.values()) >= {"benign_edge": 250, "ordinary": 200}[name]
    if name == "benign_edge":
        assert set(found) >= LOOK_ALIKES


@pytest.mark.parametrize("name", ["dsafe", "harm_probe"])
def test_harmful_requests_are_short_and_adult_content_knows_adults_only(name: str) -> None:
    for behavior in builtin(name).behaviors:
        assert len(behavior.prompt.split()) <= 16, behavior.id
        assert "\n" not in behavior.prompt
        if behavior.category == "adult_content":
            assert not YOUNG.search(behavior.prompt.lower().replace("girlfriend", "")), behavior.id


@pytest.mark.parametrize("name", PROBING)
@pytest.mark.parametrize("partition", Partition)
def test_every_partition_of_a_probing_suite_is_large_enough_to_draw_from(name: str, partition: Partition) -> None:
    assert len(builtin(name).part(partition, key="a site's key")) >= 20


def test_an_unknown_suite_is_refused_with_those_there_are() -> None:
    with pytest.raises(SuiteError, match="no built-in suite 'x'; there are: dsafe, dbenign"):
        builtin("x")
