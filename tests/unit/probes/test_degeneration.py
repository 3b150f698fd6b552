"""Signs of degeneration, counted in replies; and profiles that were kept before they were."""

from __future__ import annotations

import json

import pytest

from probes.behavior import Behavior, BehaviorId
from probes.degeneration import degeneration_of, repeated_share
from probes.probe import Probe, ProbeId, Sampling
from probes.profile import ReleaseProfile
from probes.result import ProbeResult
from probes.target import Completion


def replied(text: str | None, *, finish: str = "stop") -> ProbeResult:
    behavior = Behavior(id=BehaviorId("b"), prompt="p", category="c")
    probe = Probe(
        id=ProbeId("p"), suite="s", behavior=behavior, attack="direct", messages=(), sampling=Sampling(), seed=0
    )
    completion = None if text is None else Completion(
        probe=probe.id, text=text, finish_reason=finish, model="m", release="r", completion_tokens=1,
        latency_seconds=0.0,
    )  # fmt: skip
    return ProbeResult(probe=probe, completion=completion, judgement=None, missing="" if completion else "timeout")


def test_repetition_is_the_share_of_four_grams_seen_before() -> None:
    assert repeated_share("one two three four five six") == 0.0
    assert repeated_share("a b c d") == 0.0, "one 4-gram repeats nothing"
    assert repeated_share("la " * 103) == pytest.approx(0.99)


def test_each_sign_is_counted_by_itself() -> None:
    found = degeneration_of(
        [
            replied(" \n"), replied("step by step " * 20), replied("a fine answer to you", finish="length"),
            replied("yes"),
        ]
    )  # fmt: skip
    assert (found.empty.value, found.repeating.value, found.cut.value) == (0.25, 0.25, 0.25)
    assert found.words == (0 + 60 + 5 + 1) / 4
    assert found.empty.n == 4


def test_missing_replies_are_no_good_replies() -> None:
    assert degeneration_of([replied("yes"), replied(None)]).empty.value is None
    assert degeneration_of([]).words is None


def test_a_profile_of_before_is_still_read() -> None:
    nothing = {"value": None, "lower": None, "upper": None, "n": 0, "missing": 0, "confidence": 0.95}
    old = {
        "release": "r", "asr": nothing, "asr_by_category": {"c": nothing}, "hs": nothing, "share_scoring_5": nothing,
        "over_refusal": nothing, "utility": None,
    }  # fmt: skip
    found = ReleaseProfile.from_json(json.loads(json.dumps(old)))
    assert (found.degeneration, found.asr_by_attack, found.over_refusal_by_form, found.looks) == (None, {}, {}, "")
    assert ReleaseProfile.from_json(json.loads(json.dumps(found.to_json()))) == found
