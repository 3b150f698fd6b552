"""The container and compose files, by their structure, and the units, by systemd's own words.

No engine runs here, so no image is built: what can go wrong in the text is looked for in the text.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.files import FILES, StackValues, render

VALUES = StackValues(name="m")
COMPOSE: dict[str, Any] = yaml.safe_load(render("compose.yaml", VALUES))
LINES = [line for line in render("Containerfile", VALUES).replace("\\\n", " ").splitlines() if line and line[0] != "#"]


def said(instruction: str) -> list[str]:
    return [line.split(maxsplit=1)[1].strip() for line in LINES if line.startswith(f"{instruction} ")]


def test_the_image_runs_as_nobody_and_says_how_it_does() -> None:
    last = max(i for i, line in enumerate(LINES) if line.startswith("FROM "))
    (user,) = said("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number: Kubernetes' runAsNonRoot knows no names"
    assert LINES.index(f"USER {user}") > last
    assert not [line for line in LINES[LINES.index(f"USER {user}") :] if line.startswith(("RUN ", "COPY ", "ADD "))]
    (health,) = said("HEALTHCHECK")
    assert f"http://{VALUES.daemon}/healthz" in health
    (stop,) = said("STOPSIGNAL")
    assert stop == "SIGTERM"
    assert said("ENTRYPOINT") == ['["alignd"]']
    assert all(":" in image.split()[0] and ":latest" not in image for image in said("FROM"))


def test_the_healthcheck_is_a_program(tmp_path: Path) -> None:
    (health,) = said("HEALTHCHECK")
    words = yaml.safe_load(health[health.index("CMD") + 3 :])
    compile(words[2], str(tmp_path), "exec")
    closed = "http://127.0.0.1:9/healthz"
    done = subprocess.run([shutil.which("python3") or "", *words[1:3], closed], capture_output=True, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_has_no_rights_it_does_not_need(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith(("0:", "root"))
    assert "privileged" not in service
    assert re.search(r":[\w.-]+$", service["image"])
    assert not service["image"].endswith(":latest")
    assert name == "alignd" or service["healthcheck"]["test"][0] == "CMD"


def test_what_is_mounted_is_written_or_declared() -> None:
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source, _, *mode = volume.split(":")
            if source.startswith("./"):
                assert mode == ["ro"]
                assert any(name.startswith(source[2:]) for name in FILES), source
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"]
    for service in COMPOSE["services"].values():
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()


def test_nothing_listens_beyond_loopback() -> None:
    for name, service in COMPOSE["services"].items():
        assert "ports" not in service, name
        for word in map(str, service.get("command", ())):
            if "listen" in word:
                assert re.search(r"=(127\.0\.0\.1(:\d+)?)?$", word), word
    assert COMPOSE["services"]["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert COMPOSE["services"]["postgresql"]["profiles"] == ["postgresql"]


@pytest.mark.parametrize("name", [n for n in FILES if n.endswith(".service")])
def test_systemd_finds_no_fault_in_a_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    text = re.sub(r"^User=.*$", "User=daemon", render(name, VALUES), flags=re.MULTILINE)
    text = re.sub(r"^(Exec\w+=)(-?)\S+", r"\1\2/bin/true", text, flags=re.MULTILINE)
    for unit in ("alignd-serve.service", "alignd-haproxy.service", "alignd.service"):
        (tmp_path / unit).write_text(text if unit == name else "[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(tmp_path / name)],
        capture_output=True, text=True, check=False, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert name not in done.stderr, done.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=50", "--no-pager", str(tmp_path / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr
