"""A page of metrics gives a load or nothing, whatever stands on it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.targets.vllm_metrics import LoadReader

PAGE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_running{engine="1"} 2.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:kv_cache_usage_perc{engine="0"} 0.5
vllm:time_to_first_token_seconds_sum 10.0
vllm:time_to_first_token_seconds_count 20
vllm:request_success_total 7
"""
ODD = (
    "1e308",
    "-1",
    "NaN",
    "+Inf",
    "1e400",
    "9" * 400,
    "",
    '"',
    "{",
    "\0",
    "\n",
    "1 2 3",
    '{engine="2"} 1e308\nvllm:num_requests_running 1e308',
)


def test_a_page_of_two_engines_is_added_up() -> None:
    load = LoadReader().read(PAGE)
    assert load is not None
    assert (load.running, load.waiting, load.kv_cache_ratio, load.finished) == (5, 1, 0.5, 7)


@pytest.mark.parametrize("figure", ["1e308", "1.7e308", "+Inf", "NaN", "-1"])
def test_a_figure_beyond_all_measure_is_none(figure: str) -> None:
    page = PAGE.replace(" 3.0", f" {figure}").replace(" 2.0", f" {figure}").replace(" 10.0", f" {figure}")
    assert LoadReader().read(page) is None
    assert LoadReader().read(PAGE.replace(" 3.0", f" {figure}")) is not None, "the other engine's figure is one"


@given(
    st.lists(
        st.tuples(st.integers(0, len(PAGE)), st.integers(0, 9), st.sampled_from(ODD) | st.text(max_size=3)), max_size=4
    )
)
def test_any_page_is_read(damages: list[tuple[int, int, str]]) -> None:
    page = PAGE
    for at, length, piece in damages:
        page = page[:at] + piece + page[at + length :]
    reader = LoadReader()
    for shown in (page, PAGE, page):
        load = reader.read(shown)
        if load is not None:
            assert load.running >= 0
            assert load.waiting >= 0
            assert 0 <= load.kv_cache_ratio <= 1
            assert load.ttft_seconds is None or (load.ttft_seconds >= 0 and math.isfinite(load.ttft_seconds))
