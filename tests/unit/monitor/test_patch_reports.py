"""Which settings a trial's report names."""

from __future__ import annotations

from monitor.patch_reports import rung_of
from monitor.site import Recipe

A1, B, A2 = (Recipe(plugin=p, options={"rank": r}) for p, r in (("a", 1), ("b", 2), ("a", 3)))


def test_two_rungs_of_one_plugin_keep_their_own_options() -> None:
    assert rung_of((A1, B, A2), 0, "a") is A1
    assert rung_of((A1, B, A2), 2, "a") is A2


def test_a_rung_whose_place_changed_is_found_where_there_is_one_only() -> None:
    assert rung_of((A1, B), 0, "b") is B
    assert rung_of((B,), 3, "b") is B


def test_options_that_nobody_knows_are_left_out() -> None:
    assert rung_of((A1, B, A2), 1, "a") == Recipe(plugin="a", options={})
    assert rung_of((B,), 0, "a") == Recipe(plugin="a", options={})
