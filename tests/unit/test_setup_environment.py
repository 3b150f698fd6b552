"""The installer says what is missing, and knows when there is nothing to do."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "setup_environment.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_environment", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "LOG", venv / "install.log")
    monkeypatch.setattr(module, "PYTHON", venv / "bin" / "python")
    return module


def test_an_old_python_is_named(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "sys", SimpleNamespace(version_info=(3, 9, 1), executable="/old/python"))
    with pytest.raises(setup.SetupError, match=r"3\.11 or newer is needed, /old/python"):
        setup.check_python()


def test_a_machine_that_can_not_serve_is_refused_before_anything_is_installed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "cpu_can_serve", lambda: False)
    with pytest.raises(setup.SetupError, match="AVX-512"):
        setup.check_machine("cpu")
    monkeypatch.setattr(setup, "DISK_GB", {"cpu": 10**9})
    with pytest.raises(setup.SetupError, match="GB free"):
        setup.check_machine("cpu")
    monkeypatch.setattr(setup.shutil, "which", lambda _: None)
    with pytest.raises(setup.SetupError, match="no C compiler"):
        setup.check_machine("cpu")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying ... NewConnectionError(...)\nERROR: x", "PIP_INDEX_URL"),
        ("ERROR: Could not find a version ... (from versions: none)", "PIP_INDEX_URL"),
        ("noise\nERROR: a conflicts with b\nhint", "ERROR: a conflicts with b"),
        ("", "without saying why"),
    ],
)
def test_pip_s_failure_is_said_in_one_line(setup: ModuleType, output: str, said: str) -> None:
    assert said in setup.reason(output)


def test_a_failing_command_is_kept_in_the_log(setup: ModuleType) -> None:
    with pytest.raises(setup.SetupError, match="could not greet"):
        setup.run("greet", [sys.executable, "-c", "import sys; print('hello'); sys.exit(3)"])
    assert "hello" in setup.LOG.read_text()


def test_the_stamp_covers_purpose_hardware_and_inputs(setup: ModuleType) -> None:
    setup.PYTHON.touch()
    assert not setup.installed("demo", "cpu")
    setup.stamp("test").write_text(setup.fingerprint("test", "cpu"))
    assert setup.installed("test", "cpu")
    assert setup.installed("demo", "cpu"), "what the tests need holds what the demo needs"
    assert not setup.installed("test", "gpu")
    setup.stamp("test").write_text("of older inputs")
    assert not setup.installed("test", "cpu")


def test_missing_system_parts_fail_in_ci_and_are_named_elsewhere(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "on_machine", lambda program: program != "haproxy")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    setup.install_system_parts()
    assert "apt-get install --yes --no-install-recommends haproxy" in capsys.readouterr().out
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(setup.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stdout="", stderr=""))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(setup.SetupError, match="CI may skip no test"):
        setup.install_system_parts()


@pytest.mark.parametrize("ci", ["true", ""])
def test_the_gateway_has_an_environment_of_its_own_which_only_ci_insists_on(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str
) -> None:
    commands: list[list[str]] = []

    def run(what: str, command: list[str]) -> str:
        if len(commands) == 3:
            raise setup.SetupError(what)
        commands.append(command)
        folder.mkdir(parents=True, exist_ok=True)
        return ""

    folder = tmp_path / "build" / "litellm"
    monkeypatch.setattr(setup, "run", run)
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "LITELLM_VENV", folder)
    monkeypatch.setenv("CI", ci)
    setup.install_litellm()
    setup.install_litellm()
    assert [c[1:3] for c in commands] == [["-m", "venv"], ["-m", "pip"]], "the second time there is nothing to do"
    assert commands[1][0] == str(folder / "bin" / "python")
    (folder / "installed").write_text("of older inputs")
    with pytest.raises(setup.SetupError) if ci else nullcontext():
        setup.install_litellm()
    assert not (folder / "installed").exists()
