"""vLLM versions that were not tested, and ways to start that can't be steered safely, are refused at the start."""

from __future__ import annotations

import ast
import tomllib
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from alignd_vllm.errors import StartError
from alignd_vllm.metrics import export
from alignd_vllm.plugin import AligndPlugin, VllmServer, require_version, without_prompt_logprobs
from alignd_vllm.routes import Refusals
from tests.adapter_site import AdapterSite

ROOT = Path(__file__).resolve().parents[3] / "deploy" / "vllm_plugin"


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("file", sorted((ROOT / "alignd_vllm").glob("*.py")), ids=lambda f: f.name)
def test_it_stands_alone(file: Path) -> None:
    """No torch, nothing of alignd; of vLLM nothing before the server runs."""
    tree = ast.parse(file.read_text())
    tops = {name.split(".")[0] for name in imports(tree)}
    assert not tops & {"torch", "deploy", "monitor", "probes", "remediation", "tests"}
    at_once = [node for node in tree.body if not isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert "vllm" not in {name.split(".")[0] for node in at_once for name in imports(node)}


def test_vllm_finds_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {
        "vllm.endpoint_plugins": {AligndPlugin.name: "alignd_vllm.plugin:AligndPlugin"},
        "vllm.general_plugins": {AligndPlugin.name: "alignd_vllm.cpu_lora:mend"},
    }


def test_an_untested_version_is_refused() -> None:
    for version in ("0.32.0", "0.32.0+cpu"):
        require_version(version)
    for version in ("0.31.2", "0.32.1", "0.33.0", "0.320", "dev"):
        with pytest.raises(StartError, match=f"this is vLLM {version}, the plugin was tested with 0.32.0"):
            require_version(version)


def engine(*, lora: bool = True, max_loras: int = 2, processes: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        vllm_config=SimpleNamespace(
            lora_config=SimpleNamespace(max_loras=max_loras, max_lora_rank=16) if lora else None,
            parallel_config=SimpleNamespace(_api_process_count=processes),
            scheduler_config=SimpleNamespace(policy="fcfs"),
        )
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"engine": engine(lora=False)}, "LoRA is off"),
        ({"engine": engine(max_loras=1)}, "start vLLM with --max-loras 2"),
        ({"engine": engine(processes=2)}, "--api-server-count 1"),
        ({"served": None}, "must give the base's release id first"),
        ({"served": ["prod"]}, "must give the base's release id first"),
        ({"served": ["prod", "other"]}, "must give the base's release id first"),
        ({"variable": "VLLM_ALLOW_RUNTIME_LORA_UPDATING"}, "opens /adapters to everybody"),
        ({"variable": "VLLM_SKIP_MODEL_NAME_VALIDATION"}, "lets any name reach the base model"),
    ],
)
def test_what_can_not_be_steered_safely_does_not_start(
    harm: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "variable" in harm:
        monkeypatch.setenv(harm["variable"], "1")
    served = harm.get("served", ["prod@0", "prod"])
    with pytest.raises(StartError, match=message):
        VllmServer(
            harm.get("engine", engine()), None, Namespace(served_model_name=served, model="/m"), version="0.32.0"
        )


def test_what_would_end_the_engine_is_refused_and_counted() -> None:
    asked: list[object] = []
    refusals = Refusals()
    generate = without_prompt_logprobs(lambda *given, **more: asked.append((given, more)), refusals, ValueError)
    for fine in (SimpleNamespace(prompt_logprobs=None), SimpleNamespace()):
        generate("p", fine, "id", priority=1)
        assert asked.pop() == (("p", fine, "id"), {"priority": 1})
    for number in (0, 5):
        with pytest.raises(ValueError, match=r"end this server's engine: .*; ask for those of the answer"):
            generate("p", SimpleNamespace(prompt_logprobs=number), "id")
    assert not asked
    assert refusals == {"engine": 2}


async def test_the_page_shows_what_is_active_and_what_was_refused(tmp_path: Path) -> None:
    site = AdapterSite.make(tmp_path)
    vllm = await site.fake().start()
    assert vllm.steering
    registry = CollectorRegistry()
    export(vllm.steering, Refusals({"fenced": 2}), registry)
    page = generate_latest(registry).decode()
    assert f'alignd_vllm_active_info{{release="{site.base.id}"}} 1.0' in page
    assert 'alignd_vllm_refusals_total{reason="fenced"} 2.0' in page
    assert 'alignd_vllm_refusals_total{reason="token"} 0.0' in page
