"""What decides a figure decides its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from probes.attacks.role_play import Options, make
from probes.plan import WeightedAttack
from tests.fake_site import World


def test_other_templates_under_the_same_name_give_another_key(tmp_path: Path) -> None:
    measure = World(folder=tmp_path).measure()
    file = tmp_path / "templates.txt"
    keys = set()
    for text in ("One: {prompt}", "Two: {prompt}", "One: {prompt}"):
        file.write_text(text)
        attack = make(Options(file=file))
        assert attack.name == "role-play"
        keys.add(replace(measure, attacks=(WeightedAttack(attack=attack),)).key)
    assert len(keys) == 2
    assert measure.key not in keys
