"""The files of a host: whole, filled in, with one allow-list, and nothing written over."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.errors import StageError
from deploy.stack.files import FILES, StackValues, render, write_stack
from deploy.vllm.front import ALLOWED

VALUES = StackValues(name="my-model", adapter="prod@0123456789ab")


def test_every_word_is_filled_in(tmp_path: Path) -> None:
    written = write_stack(tmp_path / "new", VALUES)
    assert [p.relative_to(tmp_path / "new").as_posix() for p in written] == list(FILES)
    for path in written:
        assert not re.search(r"@[A-Z_]+@", path.read_text()), path


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("mine")
    with pytest.raises(StageError, match=r"nginx\.conf is there already"):
        write_stack(tmp_path, VALUES)
    assert [p.name for p in tmp_path.iterdir()] == ["nginx.conf"]
    assert (tmp_path / "nginx.conf").read_text() == "mine"
    with pytest.raises(StageError, match="can't be written"):
        write_stack(Path("/proc/x"), VALUES)


@pytest.mark.parametrize("bad", ["a b", "a\n  server evil 10.0.0.1:1", 'a"', "a;b", "a'b", "${x}", ""])
@pytest.mark.parametrize("field", ["name", "host", "user"])
def test_a_value_can_not_end_its_line(field: str, bad: str) -> None:
    with pytest.raises(StageError, match="letters, digits"):
        render("haproxy.cfg", replace(VALUES, **{field: bad}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"port": 0}, "port 0: give one from 1 to 65535"), ({"port": 65536}, "port 65536"),
        ({"figures_port": -1}, "figures_port -1"), ({"upstream": "127.0.0.1"}, "write it like 127.0.0.1:8100"),
        ({"upstream": ":1"}, "write it like"), ({"upstream": "h:99999"}, "write it like"),
        ({"upstream": "127.0.0.1:8000"}, "is where users come in"),
        ({"port": 8100}, "upstream 127.0.0.1:8100 is where users come in"),
    ],
)  # fmt: skip
def test_an_address_that_leads_nowhere_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(StageError, match=re.escape(words)):
        render("nginx.conf", replace(VALUES, **changed))


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_stands_in_brackets(tmp_path: Path, host: str) -> None:
    values = replace(VALUES, host=host, port=18810, upstream="[::1]:8100", socket=tmp_path / "admin.sock")
    assert "    listen [::1]:18810;" in render("nginx.conf", values)
    assert "    bind [::1]:18810\n" in render("haproxy.cfg", values)
    if (program := shutil.which("nginx")) is None:
        pytest.skip("no nginx here")
    text = render("nginx.conf", values).replace("/run/alignd-nginx", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(text)
    done = subprocess.run(
        [program, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert "syntax is ok" in done.stderr, done.stderr


def test_no_unit_needs_a_folder_that_its_first_start_makes() -> None:
    for name in ("alignd.service", "alignd-serve.service"):
        lines = re.findall(r"^Read(?:Write|Only)Paths=(.*)$", render(name, VALUES), re.MULTILINE)
        assert lines
        assert all(path.startswith("-") for line in lines for path in line.split())


def test_all_proxies_have_the_list_of_the_front() -> None:
    haproxy, nginx = render("haproxy.cfg", VALUES), render("nginx.conf", VALUES)
    for method in ("GET", "POST"):
        (line,) = re.findall(rf"acl {method.lower()}_path path -m str (.*)", haproxy)
        assert line.split() == [p for p, m in ALLOWED.items() if m == method]
    patterns = [re.compile(p) for p in re.findall(r'"~(\S* .*)" 0;', nginx)]
    for path, method in ALLOWED.items():
        assert any(p.search(f"{method} {path}?a=b HTTP/1.1") for p in patterns)
        assert not any(p.search(f"{method} {path}/x HTTP/1.1") for p in patterns)
    assert len(patterns) == len(ALLOWED)


def test_servers_are_out_of_service_until_somebody_says_otherwise() -> None:
    lines = re.findall(r"^    server (.*)$", render("haproxy.cfg", VALUES), re.MULTILINE)
    assert len(lines) == 3
    assert all(line.endswith(" disabled") for line in lines)
    lines = re.findall(r"^    server (.*)$", render("haproxy.cfg", replace(VALUES, upstream="h:1")), re.MULTILINE)
    assert lines == ["only h:1"]


def test_litellm_knows_the_public_name_alone() -> None:
    told = yaml.safe_load(render("litellm.yaml", VALUES))
    (model,) = told["model_list"]
    assert model["model_name"] == "my-model"
    assert model["litellm_params"]["model"] == "hosted_vllm/prod@0123456789ab"


EXPOSURE = {"alignd.service": 2.0, "alignd-haproxy.service": 1.5, "alignd-serve.service": 2.0}
"""What `systemd-analyze security` may say at most, of 10; what is left is said in the files."""


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    for name in ("bin/alignd", "haproxy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    values = replace(VALUES, program=tmp_path / "bin" / "alignd", user="root")
    written = [p for p in write_stack(tmp_path / "units", values) if p.suffix == ".service"]
    for unit in written:
        unit.write_text(unit.read_text().replace("/usr/sbin/haproxy", str(tmp_path / "haproxy")))
    return written


def test_systemd_takes_the_units(units: list[Path], program: Callable[[str], str]) -> None:
    command = [program("systemd-analyze"), "verify", "--man=no", *map(str, units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    own = [line for line in done.stderr.splitlines() if "alignd" in line]
    assert (done.returncode, own) == (0, []), done.stderr


def test_units_are_as_closed_as_they_say(units: list[Path], program: Callable[[str], str]) -> None:
    for unit in units:
        text = unit.read_text().replace("User=root", "User=alignd")
        unit.write_text(text)
        limit = str(round(10 * EXPOSURE[unit.name]))
        command = [program("systemd-analyze"), "security", "--offline=yes", f"--threshold={limit}", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_a_unit_starts_on_a_host_that_is_new(units: list[Path]) -> None:
    """A path that is not there ends the start (status 226), unless it has a dash or is systemd's to make."""
    for unit in units:
        text = unit.read_text()
        for line in re.findall(r"^Read(?:Only|Write)Paths=(.*)$", text, re.MULTILINE):
            assert all(path.startswith("-/") for path in line.split()), (unit.name, line)
        assert "StartLimitIntervalSec=0" in text
