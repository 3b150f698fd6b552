"""What is written is what Prometheus' own parsers read, in both formats."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.metrics import METRICS
from monitor.metrics.exposition import OPENMETRICS, TEXT, expose, wanted
from monitor.metrics.sample import Exemplar, Metrics, Samples

TWO: Metrics = {
    "alignd_a_total": ('Said "so"\nby C:\\a', ("target", "state")),
    "alignd_b_ratio": ("b", ("target", "state")),
}
EXEMPLAR = Exemplar((("sweep", "prod-1"),), 1234.5)


def families(found: Sequence[Samples], content_type: str) -> list[Metric]:
    text = expose(TWO, found, content_type).decode()
    read = openmetrics.text_string_to_metric_families if content_type == OPENMETRICS else text_string_to_metric_families
    return list(read(text))


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
@given(
    labels=st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(['"', "\\", "\n", "\\n", "a"])),
    value=st.floats(allow_nan=False),
)
def test_labels_and_values_come_back(content_type: str, labels: tuple[str, str], value: float) -> None:
    (family,) = families([Samples(labels, {"alignd_b_ratio": value, "alignd_a_total": None})], content_type)
    (sample,) = family.samples
    assert tuple(sample.labels.values()) == labels
    assert sample.value == value


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_help_and_types_come_back(content_type: str) -> None:
    found = families([Samples(("x", "y"), {"alignd_a_total": 3, "alignd_b_ratio": -math.inf})], content_type)
    assert [(f.type, f.documentation) for f in found] == [("counter", TWO["alignd_a_total"][0]), ("gauge", "b")]
    assert found[1].samples[0].value == -math.inf


@pytest.mark.parametrize(
    ("given", "read"),
    [(True, 1.0), (False, 0.0), (7, 7.0), (math.inf, math.inf), (np.float64(0.1), 0.1), (np.int64(3), 3.0)],
)
def test_plain_values_are_numbers(given: float, read: float) -> None:
    (family,) = families([Samples(("x", "y"), {"alignd_b_ratio": given})], TEXT)
    assert family.samples[0].value == read


def test_an_exemplar_stands_in_openmetrics_alone() -> None:
    found = [Samples(("x", "y"), {"alignd_a_total": 3}, {"alignd_a_total": EXEMPLAR})]
    (family,) = families(found, OPENMETRICS)
    told = family.samples[0].exemplar
    assert told
    assert (told.labels, float(told.timestamp)) == ({"sweep": "prod-1"}, 1234.5)
    assert b"prod-1" not in expose(TWO, found, TEXT)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT), ("*/*", TEXT), ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5", OPENMETRICS),
    ],
)  # fmt: skip
def test_openmetrics_where_it_is_named(accept: str, content_type: str) -> None:
    assert wanted(accept) == content_type


def test_an_unknown_metric_or_another_number_of_labels_is_a_fault() -> None:
    with pytest.raises(KeyError):
        expose(TWO, [Samples(("x", "y"), {"alignd_c": 1})], TEXT)
    with pytest.raises(ValueError, match="shorter"):
        expose(TWO, [Samples(("x",), {"alignd_b_ratio": 1})], TEXT)


def test_names_and_helps_are_as_promtool_wants_them() -> None:
    """One sample of every metric: a part of the rules is about metrics that are seldom there."""
    found = [Samples(tuple("x" for _ in labels), {name: 1}) for name, (_, labels) in METRICS.items()]
    text = expose(METRICS, found, TEXT)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
