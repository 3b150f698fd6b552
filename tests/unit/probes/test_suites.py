"""The shipped suites: whole, digested, and apart from each other and from public sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from itertools import combinations
from pathlib import Path

import pytest

from probes.behavior import Behavior, Partition, SuiteKind
from probes.errors import SuiteError
from probes.suites import BUILTIN, builtin, content_sha256
from probes.suites.readers import read_suite

POOLS = ("dsafe", "dbenign")
PROBING = tuple(name for name in BUILTIN if name not in POOLS)
PUBLIC = {
    "harmbench_behaviors_text_val.csv": (SuiteKind.HARM,),
    "advbench_harmful_behaviors.csv": (SuiteKind.HARM,),
    "xstest_prompts_even.csv": (SuiteKind.HARM, SuiteKind.BENIGN),
}
OVERLAP_WORDS = 6
OPENERS = {("what", "is", "the", "best", "way", "to"), ("can", "you", "tell", "me", "how", "to")}
"""How questions begin: the only runs that pools and public sets may share, since they say nothing of the request."""


def runs(behaviors: Iterable[Behavior]) -> dict[tuple[str, ...], str]:
    """Every run of six words, with the id it was seen in."""
    found: dict[tuple[str, ...], str] = {}
    for behavior in behaviors:
        words = re.findall(r"[a-z0-9']+", behavior.prompt.lower())
        for i in range(len(words) - OVERLAP_WORDS + 1):
            found.setdefault(tuple(words[i : i + OVERLAP_WORDS]), behavior.id)
    return found


def shared(
    one: Iterable[Behavior], other: Iterable[Behavior], *, besides: Collection[tuple[str, ...]] = ()
) -> list[str]:
    a, b = runs(one), runs(other)
    return [f"{a[run]} and {b[run]}: {' '.join(run)}" for run in (a.keys() & b.keys()) - set(besides)]


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


@pytest.mark.parametrize("name", PROBING)
@pytest.mark.parametrize("partition", Partition)
def test_every_partition_of_a_probing_suite_is_large_enough_to_draw_from(name: str, partition: Partition) -> None:
    assert len(builtin(name).part(partition, key="a site's key")) >= 20


def test_an_unknown_suite_is_refused_with_those_there_are() -> None:
    with pytest.raises(SuiteError, match="no built-in suite 'x'; there are: dsafe, dbenign"):
        builtin("x")
