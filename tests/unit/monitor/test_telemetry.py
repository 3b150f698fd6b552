"""Traces are asked for by the settings, and what they need is named where it lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monitor import bootstrap
from monitor.errors import ConfigError
from monitor.settings import load_settings
from monitor.spans import NO_SPANS

CONFIG = """
key: long-enough-secret
targets: [{name: prod, endpoint: "http://127.0.0.1:8000/v1", model: m}]
tracing: {endpoint: "http://127.0.0.1:4318/v1/traces"}
"""


def test_without_the_extra_the_fault_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alignd.yaml").write_text(CONFIG)
    monkeypatch.setattr(bootstrap, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tracing: .*alignd\[trace\]"):
        bootstrap.build(load_settings(tmp_path / "alignd.yaml"))


async def test_a_command_makes_no_spans(tmp_path: Path) -> None:
    (tmp_path / "alignd.yaml").write_text(CONFIG)
    service = bootstrap.build(load_settings(tmp_path / "alignd.yaml"))
    assert service.spans is NO_SPANS
    await service.aclose()


def test_who_asks_for_no_traces_and_no_channels_imports_nothing_for_them() -> None:
    code = (
        "import sys, monitor.daemon; "
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'smtplib', 'monitor.notifiers'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
