"""The settings in docs/howto/judges.md make the judges that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from monitor.plugins import make_plugin
from monitor.target_settings import TargetSettings
from probes.judges.served import ServedJudge, ServedOptions

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "judges.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e["judge"]["plugin"])
def test_an_example_makes_its_judge(example: dict[str, dict[str, object]]) -> None:
    target = TargetSettings.model_validate({"name": "prod", "endpoint": "http://t/v1", "model": "m", **example})
    made = make_plugin("alignd.judges", target.judge.plugin, target.judge.options, where="judge")
    assert isinstance(made, ServedJudge)
    assert made.id.startswith(f"{target.judge.plugin}/")
    assert made.id.endswith(f"/{target.judge.options['model']}")


def test_each_served_judge_has_an_example() -> None:
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.split("## Serve one")[0], re.MULTILINE))
    assert {e["judge"]["plugin"] for e in EXAMPLES} == named


def test_the_page_names_the_options_that_all_share() -> None:
    for option in set(ServedOptions.model_fields) - {"endpoint", "model"}:
        assert f"`{option}`" in PAGE
