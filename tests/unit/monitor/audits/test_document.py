from __future__ import annotations

import json

from monitor.audits.archive import canonical
from monitor.audits.document import figures_in
from monitor.audits.sections import keyed
from probes.behavior import SuiteKind
from tests.unit.monitor.audits.audited import KEY, audit, result, section

RESULTS = [result(i, positive=i < 3) for i in range(30)]


def test_neither_prompts_nor_their_ids_leave_the_site() -> None:
    document, outcomes = audit((section(RESULTS), RESULTS))
    told = canonical([document, outcomes]).decode()
    assert "prompt 1" not in told
    assert '"b1"' not in told
    assert KEY not in told
    assert outcomes[1]["prompt"] == keyed(KEY, "harm", RESULTS[1].probe.behavior.id)
    assert keyed("another-key", "harm", RESULTS[1].probe.behavior.id) != outcomes[1]["prompt"]


def test_an_audit_says_in_which_way_it_was_measured() -> None:
    document, _ = audit((section(RESULTS, max_tokens=64), RESULTS))
    (way,) = document["sections"]
    assert (way["suite"], way["kind"], way["prompts"], way["max_tokens"]) == ("harm", "harm", 30, 64)
    assert [a["name"] for a in way["attacks"]] == ["direct"]


def test_outcomes_hold_what_each_measure_counts() -> None:
    benign = [result(i, kind=SuiteKind.BENIGN, positive=i == 0) for i in range(3)]
    lost = [*RESULTS, result(30, positive=None)]
    _, outcomes = audit((section(lost), lost), (section(benign, name="b", kind=SuiteKind.BENIGN), benign))
    assert outcomes[0]["values"] == {"asr": 1.0, "hs": 5.0, "share_5": 1.0}
    assert outcomes[30]["values"] == {"asr": None, "hs": None, "share_5": None}
    assert outcomes[30]["missing"] == "timeout"
    assert outcomes[31]["values"] == {"over_refusal": 1.0}


def test_figures_are_read_back() -> None:
    document, _ = audit((section(RESULTS), RESULTS))
    again = json.loads(canonical(document))
    assert [f.to_json() for f in figures_in(again)] == document["figures"]
