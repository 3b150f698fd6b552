"""A staged release is asked by its own model name, and answers of steered servers name their release."""

from __future__ import annotations

import pytest

from monitor.daemon_settings import SigningSettings
from monitor.errors import ConfigError
from monitor.reaching import deployer_of, target_at
from monitor.target_settings import TargetSettings
from probes.targets.openai import OpenAITarget, Options


def options(model: str, deployer: object) -> Options:
    settings = TargetSettings.model_validate(
        {"name": "prod", "endpoint": "http://public/v1", "model": "prod", "deployer": deployer}
    )
    made = target_at(settings, "http://replica/v1", model)
    assert isinstance(made, OpenAITarget)
    return made._options


@pytest.mark.parametrize(
    ("deployer", "named"),
    [("external", False), ({"plugin": "vllm-adapter", "options": {"replicas": ["http://replica/v1"]}}, True)],
)
def test_a_release_is_asked_by_its_own_name(deployer: object, named: bool) -> None:
    assert options("", deployer).model == "prod"
    staged = options("fix@0123456789ab", deployer)
    assert (staged.endpoint, staged.model, staged.release_in_model) == ("http://replica/v1", "fix@0123456789ab", named)


@pytest.mark.parametrize(
    ("deployer", "able"),
    [
        ({"plugin": "vllm-process", "options": {"token_file": "t"}}, True),
        ("external", False),
    ],
)
def test_quarantine_needs_a_deployer_that_can(deployer: object, able: bool) -> None:
    settings = TargetSettings.model_validate(
        {"name": "prod", "endpoint": "http://public/v1", "model": "prod", "deployer": deployer,
         "containment": "quarantine"}
    )  # fmt: skip
    if able:
        assert deployer_of(settings, SigningSettings())
        return
    with pytest.raises(ConfigError, match=r"targets\.prod\.containment: quarantine.*set roll_back or hold"):
        deployer_of(settings, SigningSettings())
