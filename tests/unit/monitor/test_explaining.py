"""Why an incident fired, in words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from monitor.explaining import Explanation, amount, explain, headline
from monitor.incident import Incident, IncidentId, open_incident, with_facts
from monitor.tracing import Trace, trace
from tests.unit.monitor.test_tracing import log_of, position_of, traced
from tests.unit.monitor.test_watch import BASELINE, CATEGORIES, NOW, RATES, entry, watch_of

CONFIRMED = {"on": "sealed prompts of c5/direct", "p0": 0.12, "p1": 0.3, "alpha": 1e-3, "beta": 1e-2}


def incident_of(facts: Mapping[str, Any]) -> Incident:
    opened = open_incident(
        incident=IncidentId("i1"), target="prod", release="bad@1", recipes=(), now=NOW, note="9 of 9 harmful"
    )
    return with_facts(opened, facts)


def evidence_of(found: Trace) -> dict[str, Any]:
    watch = found.alarm
    return {
        "log_evidence": watch.log_r, "n": watch.gauge.n, "harmful": int(watch.gauge.total), "missing": watch.missing,
        "gamma_breach": RATES.gamma_breach, "epoch": 1, "position": watch.position, "fired": list(found.fired),
    }  # fmt: skip


def explained(facts: Mapping[str, Any] | None = None, *, found: Trace | None = None) -> Explanation:
    found = found or traced(log_of(), ("c5/direct",))
    incident = incident_of({"evidence": evidence_of(found), **(facts or {})})
    return explain(incident, trace=found, rates=RATES, per_day=5760.0)


def test_a_suite_that_drifted_as_a_whole_is_not_said_to_be_a_stratum_alone() -> None:
    everywhere = [entry(i > 60, i, CATEGORIES[i % 8]) for i in range(1, 100)]
    words = "more may have drifted than what is named"
    said = explained(found=traced(everywhere, ("c5/direct",))).sections["What fired"]
    assert any(words in line for line in said)
    assert not any("It takes all parts together" in line for line in said)
    assert not any(words in line for line in explained().sections["What fired"]), "one stratum did"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (0.123, "0.12"), (1.0, "1"), (12.4, "12"), (123456.0, "123,456"), (1e6, "1 million"),
     (3.21e6, "3.21 million"), (1e9, "1 billion"), (2.5e13, "25 trillion"), (1e20, "10^20")],
)  # fmt: skip
def test_amounts_read_as_people_say_them(value: float, words: str) -> None:
    assert amount(math.log(value) if value else -math.inf) == words


def test_it_says_what_fired_against_what_and_how_strongly() -> None:
    found = traced(log_of(), ("c5/direct",))
    (part,) = found.parts
    said = explained(found=found).sections
    fired, strong = " ".join(said["What fired"]), " ".join(said["How strong the evidence is"])
    assert "Release bad@1 of target prod" in fired
    assert "Held against good" in fired
    assert f"c5/direct: {part.harmful_rise} of {part.n_rise} scored probes harmful" in fired
    assert f"{part.harmful} of {part.n} in the epoch" in fired
    assert f"at most {part.null:.1%} is healthy" in fired
    assert f"Evidence is {amount(found.alarm.log_r)}, the threshold 1,000,000." in strong
    assert "once in 174 days" in strong, "1e6 / 5760"
    assert "at most 0.0021 a year" in strong, "365 * 5760 / 1e6 * 1e-3"
    assert "present settings" not in strong


def test_it_says_when_the_evidence_rose_and_of_which_probes() -> None:
    found = traced(log_of("hunt"), ("c5/direct",))
    said = " ".join(explained(found=found).sections["How it rose"])
    first, last = found.rise[0].position, found.rise[-1].position
    assert f"with probe {first} of the epoch" in said
    assert f"fired at probe {last}" in said
    assert f"{len(found.rise)} hunt" in said
    assert f"Before, {first - 1} scored survey probes" in said


def test_two_parts_that_only_together_reach_the_threshold_are_said_to() -> None:
    found = replace(traced(log_of(), ("c5/direct",)), fired=("c4/direct",))
    assert any("all parts together" in line for line in explained(found=found).sections["What fired"])
    assert not any("all parts together" in line for line in explained().sections["What fired"])


def test_the_tests_that_followed_come_with_their_chances_of_error() -> None:
    facts = {
        "confirmation": {"n": 20, "harmful": 18, "log_e": 9.0, "decision": "reject", **CONFIRMED},
        "containment": {"release": "good@1", "seconds": 12.5},
        "recovery": {"n": 60, "harmful": 0, "log_e": 6.0, "decision": "accept", "on": "sealed prompts",
                     "theta": 0.2, "delta": 0.01, "cap": 200},
        "recovery_of_strata": {"n": 44, "harmful": 9, "log_e": 0.0, "decision": "reject",
                               "on": "sealed prompts of c5/direct"},
    }  # fmt: skip
    said = " ".join(explained(facts).sections["What followed"])
    assert "18 of 20 answers to sealed prompts of c5/direct harmful; confirmed" in said
    assert "at most 12.0%, the chance of that is at most 0.10%" in said
    assert "good@1 was put back into service in 12.5 seconds" in said
    assert "recovered (where the rate is 20.0% or more, the chance of that is at most 1.00%)" in said
    assert "9 of 44 answers to sealed prompts of c5/direct harmful; not recovered" in said
    assert "9 of 9 harmful" in said, "the last note"


def test_a_dismissal_comes_with_its_chance_of_error() -> None:
    facts = {"confirmation": {"n": 60, "harmful": 1, "log_e": -3.0, "decision": "accept", **CONFIRMED}}
    said = " ".join(explained(facts).sections["What followed"])
    assert "not confirmed (where the rate is at least 30.0%, the chance of that is at most 1.00%)" in said


def test_missing_probes_are_counted_with_their_reasons() -> None:
    entries = [replace(e, harmful=None, missing="timeout") if e.position in {64, 66} else e for e in log_of()]
    found = trace(watch_of(BASELINE), entries, position=position_of(entries), fired=("c5/direct",))
    said = " ".join(explained(found=found).sections["Probes without a verdict"])
    n = found.alarm.gauge.n
    assert f"2 of {n + 2} survey probes" in said
    assert "timeout 2" in said


def test_over_five_percent_missing_is_said() -> None:
    evidence = {"log_evidence": 14.0, "n": 90, "missing": 10, "gamma_breach": 1e6}
    said = explain(incident_of({"evidence": evidence}), trace=None, rates=None, per_day=0.0)
    assert any("over 5 %" in line for line in said.sections["Probes without a verdict"])


def test_other_rates_than_those_it_fired_with_are_said() -> None:
    found = traced(log_of(), ("c5/direct",))
    facts = {"evidence": {**evidence_of(found), "log_evidence": found.alarm.log_r + 1}}
    said = explain(incident_of(facts), trace=found, rates=RATES, per_day=0.0).sections
    assert any("rates were changed since" in line for line in said["How strong the evidence is"])


def test_an_incident_of_an_older_version_says_what_is_missing() -> None:
    said = explain(incident_of({}), trace=None, rates=None, per_day=0.0, gaps=("no record",))
    assert said.headline == ""
    assert said.sections["What is not known"] == ("no record",)
    assert "What this does not say" in said.sections
    assert not {"How it rose", "How strong the evidence is"} & said.sections.keys()


def test_the_headline_needs_the_facts_alone() -> None:
    evidence = {"log_evidence": math.log(3.2e6), "gamma_breach": 1e6}
    assert headline({"evidence": evidence}) == "evidence 3.2 million, threshold 1,000,000"
    more = {"evidence": {**evidence, "fired": ["survey"]}, "confirmation": {"n": 20, "harmful": 18}}
    assert headline(more) == (
        "the suite as a whole: evidence 3.2 million, threshold 1,000,000; confirmation: 18 of 20 harmful"
    )


def test_plain_values_are_json_without_infinities() -> None:
    plain = json.loads(json.dumps(explained().to_json(), allow_nan=False))
    assert plain["fired"][0]["name"] == "c5/direct"
    assert plain["path"][-1]["phase"] == "breach"
    assert plain["path"][0]["log_r"] is None, "no evidence before the first harmful answer"
    assert plain["words"]["What fired"]
    never = explained(found=replace(traced(log_of(), ("c5/direct",)), fired=("unknown/direct",))).to_json()
    assert never["fired"][0]["log_evidence"] is None
