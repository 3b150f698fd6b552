"""A repair by hand, with a recipe from another package in a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.checkpoint import check_checkpoint
from deploy.digest import folder_digest
from deploy.weights import ADAPTER_CONFIG
from monitor import cli
from monitor.ladder import climb
from monitor.site import Recipe
from monitor.testing import FakeExecutor
from remediation.testing import FakePatcher, contents
from tests.conftest import ROOT
from tests.slow_recipe import install
from tests.unit.deploy.test_checkpoint import write_checkpoint
from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT}")
    write_checkpoint(tmp_path / "drifted")
    return called_in(tmp_path, monkeypatch, capsys)


def test_an_adapter_is_made_and_named_where_it_is_asked_for(alignd: Alignd, tmp_path: Path) -> None:
    code, out, _ = alignd("patch", "drifted", "out", "--recipe", "slow", "--form", "adapter")
    assert code == 0
    (trial,) = json.loads(out)
    assert trial["patch"]["form"] == "adapter"
    assert trial["patch"]["checkpoint"] == str(tmp_path / "out")
    assert json.loads((tmp_path / "out" / ADAPTER_CONFIG).read_text())["peft_type"] == "LORA"
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_full_checkpoint_is_made_unless_said_otherwise(alignd: Alignd, tmp_path: Path) -> None:
    code, out, _ = alignd("patch", "drifted", "out", "--recipe", "slow")
    assert code == 0
    assert json.loads(out)[0]["patch"]["form"] == "merged"
    assert check_checkpoint(tmp_path / "out") == "LlamaForCausalLM"


def test_another_form_is_refused_with_those_there_are(alignd: Alignd, tmp_path: Path) -> None:
    code, _, err = alignd("patch", "drifted", "out", "--recipe", "slow", "--form", "gguf")
    assert code == cli.USAGE
    assert "merged" in err
    assert "adapter" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device", "told"),
    [("gpu", "--device gpu: there are cpu, cuda, cuda:1"),
     ("cuda", "--recipe slow: device cuda can't be used: there is no GPU here; give another, or cpu")],
)  # fmt: skip
def test_a_device_that_is_not_there_is_told_before_anything_runs(
    alignd: Alignd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, told: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, _, err = alignd("patch", "drifted", "out", "--recipe", "slow", "--device", device)
    assert code == cli.USAGE
    assert told in err
    assert not (tmp_path / "out").exists()


def test_a_second_repair_into_the_same_folder_is_refused_while_the_first_goes_on(
    alignd: Alignd, tmp_path: Path
) -> None:
    words = ["drifted", "out", "--recipe", "slow", "--options", '{"seconds": 30}']
    first = subprocess.Popen([sys.executable, "-m", "monitor", "patch", *words], stderr=subprocess.PIPE)
    try:
        assert first.stderr is not None
        assert b"slow: " in first.stderr.readline(), "the worker began"
        scratch = [p for p in tmp_path.iterdir() if p.name.endswith(".partial")]
        code, _, err = alignd("patch", "drifted", "out", "--recipe", "slow")
        assert code == cli.USAGE
        assert "another repair is writing it; wait for its end, or give another folder" in err
        assert [p for p in scratch if not p.exists()] == []
    finally:
        first.terminate()
        first.communicate(timeout=60)
    code, _, err = alignd("patch", "drifted", "out", "--recipe", "slow")
    assert code == 0, err
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")], "nothing stays beside the patch"


def test_a_repair_touches_nothing_that_it_did_not_make(alignd: Alignd, tmp_path: Path) -> None:
    kept = tmp_path / "out.patch.json"
    kept.write_text("[1]")
    assert alignd("patch", "drifted", "out", "--recipe", "slow")[0] == 0
    made = contents(tmp_path / "out")
    code, _, err = alignd("patch", "drifted", "out", "--recipe", "slow", "--options", '{"error": "value"}')
    assert code == cli.USAGE
    assert "out is there already" in err
    assert contents(tmp_path / "out") == made
    assert kept.read_text() == "[1]"
    code, _, _ = alignd("patch", "drifted", "other", "--recipe", "slow", "--options", '{"error": "value"}')
    assert code != 0
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "slow", "--recipe", "slwo"], "no recipe 'slwo'; there are: "),
        (["--recipe", "slow", "--options", "{}", "--recipe", "slow", "--options", '{"second": 1}'],
         "recipe slow refuses its options: no option 'second'; there are: seconds"),
        (["--recipe", "slow", "--options", "{}", "--options", "{}"], "--options was given 2 times for 1 recipes"),
        (["--recipe", "slow", "--timeout", "nan"], "--timeout nan: give seconds, more than 0"),
        (["--recipe", "slow", "--timeout", "-5"], "--timeout -5: give seconds, more than 0"),
        (["--recipe", "slow", "--report", "file/reports"], "the report can't be written (Not a directory)"),
        (["--recipe", "slow", "--report", "drifted/reports"], "drifted/reports lies inside the checkpoint drifted"),
        (["--recipe", "slow", "--reference", "."], "out lies inside the checkpoint ."),
    ],
)  # fmt: skip
def test_what_can_be_known_before_is_said_before(
    alignd: Alignd, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = alignd("patch", "drifted", "out", *words)
    assert (code, out) == (cli.USAGE, "")
    assert said in err
    assert "%  slow: " not in err, "no recipe was begun"
    assert not (tmp_path / "out").exists()
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("output", ["drifted/out", "link/out"])
def test_nothing_is_written_into_a_checkpoint(alignd: Alignd, tmp_path: Path, output: str) -> None:
    (tmp_path / "link").symlink_to("drifted")
    code, _, err = alignd("patch", "drifted", output, "--recipe", "slow")
    assert code == cli.USAGE
    assert f"{output} lies inside the checkpoint drifted" in err


def test_the_root_is_there_already(alignd: Alignd) -> None:
    code, _, err = alignd("patch", "drifted", "/", "--recipe", "slow")
    assert code == cli.USAGE
    assert "/ is there already" in err


def test_each_recipe_may_have_options_of_its_own(alignd: Alignd, tmp_path: Path) -> None:
    two = ["--recipe", "slow", "--options", '{"error": "value"}', "--recipe", "slow", "--options", "{}"]
    code, out, _ = alignd("patch", "drifted", "out", *two)
    assert code == 0
    first, second = json.loads(out)
    assert "a share of 1.2" in first["why"]
    assert not second["why"]
    assert (tmp_path / "out").is_dir()


async def test_a_patch_by_hand_says_what_weights_it_is_of(tmp_path: Path) -> None:
    drifted, reference = write_checkpoint(tmp_path / "drifted"), write_checkpoint(tmp_path / "good", data=b"good....")
    executor = FakeExecutor(patchers={"fake": FakePatcher()})
    asked = {"drifted": drifted, "reference": reference, "output": tmp_path / "out"}
    (trial,) = await climb(executor, [Recipe(plugin="fake", options={})], say=lambda *_: None, **asked)
    assert not trial.why
    (request,) = executor.asked
    assert request.parent_digest == folder_digest(drifted)
    assert request.reference_digest == folder_digest(reference)
