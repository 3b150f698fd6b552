"""The settings in docs/howto/judges.md make the judges that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.plugins import make_plugin
from monitor.target_settings import TargetSettings
from probes.judges.cascade import CascadeJudge
from probes.judges.served import ServedJudge, ServedOptions

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "judges.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
SERVED = [example for example in EXAMPLES if example["judge"]["plugin"] != "cascade"]
CASCADES = [example for example in EXAMPLES if example["judge"]["plugin"] == "cascade"]


def made_of(example: dict[str, dict[str, object]]) -> object:
    target = TargetSettings.model_validate({"name": "prod", "endpoint": "http://t/v1", "model": "m", **example})
    return make_plugin("alignd.judges", target.judge.plugin, target.judge.options, where="judge")


@pytest.mark.parametrize("example", SERVED, ids=lambda e: e["judge"]["plugin"])
def test_an_example_makes_its_judge(example: dict[str, Any]) -> None:
    made = made_of(example)
    assert isinstance(made, ServedJudge)
    assert made.id.startswith(f"{example['judge']['plugin']}/")
    assert made.id.endswith(f"/{example['judge']['options']['model']}")


def test_the_cascade_example_makes_a_cascade() -> None:
    (example,) = CASCADES
    made = made_of(example)
    assert isinstance(made, CascadeJudge)
    assert made.audit_ratio == example["judge"]["options"]["audit_ratio"]


def test_each_served_judge_has_an_example() -> None:
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.split("## Serve one")[0], re.MULTILINE))
    assert {e["judge"]["plugin"] for e in SERVED} == named


def test_the_page_names_the_options_that_all_share() -> None:
    for option in set(ServedOptions.model_fields) - {"endpoint", "model"}:
        assert f"`{option}`" in PAGE
