"""A ladder is looked at where the settings are checked, and where the daemon starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from monitor import cli, daemon
from monitor.errors import ConfigError
from monitor.settings import load_settings
from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    called = called_in(tmp_path, monkeypatch, capsys)
    assert called("init", "--endpoint", "http://127.0.0.1:9/v1", "--checkpoint", "/x", "--model", "m")[0] == 0
    return called


@pytest.fixture
def without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds no torch, as on a machine without the extra."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


def configure(folder: Path, recipes: str, *, mode: str = "observe") -> Path:
    config = folder / "alignd.yaml"
    more = "" if mode == "observe" else "\n    deployer: {plugin: vllm-process, options: {token_file: t}}"
    config.write_text(config.read_text().replace("mode: observe", f"mode: {mode}\n    recipes: {recipes}{more}"))
    return config


def test_check_refuses_options_that_a_recipe_refuses(alignd: Alignd, tmp_path: Path) -> None:
    configure(tmp_path, "[one-shot-sft, {plugin: restore-subspace, options: {rank: 0}}, random]")
    code, _, err = alignd("config", "check")
    assert code == cli.USAGE
    assert "targets.prod.recipes[1]: recipe restore-subspace refuses its options: rank: " in err
    assert "targets.prod.recipes[2]: random is a control" in err
    assert "recipes[0]" not in err


async def test_the_daemon_does_not_start_with_them(alignd: Alignd, tmp_path: Path) -> None:
    config = configure(tmp_path, "[{plugin: low-rank-sft, options: {task_prompts: none.txt}}]")
    with pytest.raises(ConfigError, match=r"recipes\[0\]: recipe low-rank-sft .*: .*none.txt can't be read"):
        await daemon.run(load_settings(config), read=lambda: load_settings(config), hung_up=asyncio.Event())


def test_a_device_that_is_not_there_stops_whoever_repairs_and_warns_whoever_watches(
    alignd: Alignd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = configure(tmp_path, "[one-shot-sft]\n    patch_device: cuda:1")
    told = "targets.prod.recipes[0]: device cuda:1 can't be used: there is no GPU here; give another, or cpu"
    code, _, err = alignd("config", "check")
    assert (code, told in err) == (0, True)
    config.write_text(config.read_text().replace("patch_device: cuda:1", "patch_device: gpu"))
    code, _, err = alignd("config", "check")
    assert (code, "patch_device" in err) == (cli.USAGE, True)
    config.write_text(config.read_text().replace("patch_device: gpu", "patch_device: cuda:1"))
    more = "\n    deployer: {plugin: vllm-process, options: {token_file: t}}"
    config.write_text(config.read_text().replace("mode: observe", f"mode: auto{more}"))
    code, _, err = alignd("config", "check")
    assert (code, told in err) == (cli.USAGE, True)


@pytest.mark.usefixtures("without_torch")
def test_a_machine_that_only_watches_is_warned(alignd: Alignd, tmp_path: Path) -> None:
    configure(tmp_path, "[one-shot-sft]")
    code, out, err = alignd("config", "check")
    assert code == 0
    assert "is fine" in out
    assert "recipe one-shot-sft can't be imported on this machine (No module named 'torch')" in err
    assert "install alignd[patch]" in err


@pytest.mark.usefixtures("without_torch")
def test_a_machine_that_shall_repair_is_refused(alignd: Alignd, tmp_path: Path) -> None:
    configure(tmp_path, "[one-shot-sft]", mode="auto")
    code, _, err = alignd("config", "check")
    assert code == cli.USAGE
    assert "install alignd[patch]" in err
