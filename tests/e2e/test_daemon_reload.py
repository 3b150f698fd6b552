"""The configuration of a running daemon is read again at SIGHUP: all of it, or nothing."""

from __future__ import annotations

import json
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.vllm.child import free_port
from tests.certificates import for_localhost
from tests.e2e.test_daemon_process import daemon, wait_for
from tests.null_server import NullServer, null_server


@pytest.fixture
def server() -> Iterator[NullServer]:
    with null_server() as running:
        yield running


def target(server: NullServer, name: str, **more: object) -> dict[str, Any]:
    options = {"release": "served", "endpoint": server.endpoint}
    return {"name": name, "endpoint": server.endpoint, "model": name, **more,
            "deployer": {"plugin": "external", "options": options},
            "schedule": {"interval_seconds": 0.5, "burst_interval_seconds": 0.5}}  # fmt: skip


def write(folder: Path, api: int, *targets: dict[str, Any], **more: object) -> None:
    config = {"key": "long-enough-secret", "listen": {"port": api}, "targets": list(targets), **more}
    (folder / "alignd.yaml").write_text(yaml.safe_dump(config))


def by_name(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {t["name"]: t for t in status["targets"]}


def probes(target: dict[str, Any]) -> int:
    return int(target["asr"]["n"]) if target["asr"] else 0


def logged(folder: Path, action: str) -> list[dict[str, Any]]:
    """Wait for an action in the log, and return its lines."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        if found := [line for line in lines if line["action"] == action]:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {action} within a minute")


def metric(api: str, name: str) -> float:
    (line,) = [s for s in httpx.get(f"{api}/metrics").text.splitlines() if s.startswith(f"{name} ")]
    return float(line.split()[1])


def test_a_reload_swaps_all_or_nothing(server: NullServer, tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    one, two = target(server, "one"), target(server, "two")
    write(tmp_path, port, one, two)
    running = daemon(tmp_path)
    try:
        before = by_name(wait_for(api, lambda s: all(t["sweeps"] > 3 for t in by_name(s).values())))
        read_at = metric(api, "alignd_config_reload_timestamp_seconds")

        write(tmp_path, port, target(server, "one", mode="sometimes"))
        running.send_signal(signal.SIGHUP)
        wait_for(api, lambda s: "targets[0].mode" in s["configuration"]["refused"])  # type: ignore[index]
        assert metric(api, "alignd_config_reload_success") == 0
        write(tmp_path, port + 1, one, key="another-long-secret")
        running.send_signal(signal.SIGHUP)
        status = wait_for(api, lambda s: "key, listen: changed" in s["configuration"]["refused"])  # type: ignore[index]
        assert by_name(status).keys() == {"one", "two"}
        assert metric(api, "alignd_config_reload_timestamp_seconds") == read_at
        assert len(logged(tmp_path, "config_refused")) == 2

        write(tmp_path, port, one, target(server, "three"), target(server, "two", mode="observe", approval_hours=1))
        running.send_signal(signal.SIGHUP)
        (line,) = logged(tmp_path, "config_reloaded")
        assert (line["added"], line["changed"], line["removed"]) == (["three"], ["two"], [])
        more = {"one": probes(before["one"]), "two": probes(before["two"]), "three": 0}
        after = by_name(wait_for(api, lambda s: all(probes(by_name(s)[name]) > n for name, n in more.items())))
        for name in ("one", "two"):
            assert after[name]["epoch_started_at"] == before[name]["epoch_started_at"]
        assert metric(api, "alignd_config_reload_success") == 1
        assert metric(api, "alignd_config_reload_timestamp_seconds") > read_at

        write(tmp_path, port, target(server, "three"))
        running.send_signal(signal.SIGHUP)
        wait_for(api, lambda s: by_name(s).keys() == {"three"})
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(20)
    assert code == 0
    faults = [line for line in (tmp_path / "log").read_text().splitlines() if '"error": "Traceback' in line]
    assert not faults


def heeds_hangups(process: int) -> bool:
    """Whether a process has said what a SIGHUP is to do."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return bool((int(status["SigIgn"], 16) | int(status["SigCgt"], 16)) >> (signal.SIGHUP - 1) & 1)


def test_a_hangup_during_the_start_is_heeded_when_the_daemon_is_up(server: NullServer, tmp_path: Path) -> None:
    write(tmp_path, free_port(), target(server, "one"))
    running = daemon(tmp_path)
    log = tmp_path / "log"
    try:
        while running.poll() is None and not heeds_hangups(running.pid):
            time.sleep(0.001)
        assert '"started"' not in log.read_text()
        while running.poll() is None and '"started"' not in log.read_text():
            running.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        assert logged(tmp_path, "config_reloaded")
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(20)
    assert code == 0


def test_a_renewed_certificate_is_taken_even_where_the_configuration_is_refused(
    server: NullServer, tmp_path: Path
) -> None:
    port, (_, certificate) = free_port(), for_localhost(tmp_path)
    listen = {"port": port, "tls_certificate": certificate.name, "tls_key": "localhost.key"}
    write(tmp_path, port, target(server, "one"), listen=listen)
    running = daemon(tmp_path)
    try:
        logged(tmp_path, "started")
        _wait_for_certificate(port, certificate.read_text())
        for_localhost(tmp_path)
        running.send_signal(signal.SIGHUP)
        logged(tmp_path, "config_reloaded")
        _wait_for_certificate(port, certificate.read_text())
        for_localhost(tmp_path)
        write(tmp_path, port, target(server, "one", mode="sometimes"), listen=listen)
        running.send_signal(signal.SIGHUP)
        logged(tmp_path, "config_refused")
        _wait_for_certificate(port, certificate.read_text())
        taken = certificate.read_text()
        certificate.write_text("none")
        running.send_signal(signal.SIGHUP)
        end = time.monotonic() + 60
        while "listen.tls_certificate" not in logged(tmp_path, "config_refused")[-1]["why"]:
            assert time.monotonic() < end
            time.sleep(0.1)
        _wait_for_certificate(port, taken)
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(20)
    assert code == 0


def _wait_for_certificate(port: int, wanted: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if ssl.get_server_certificate(("127.0.0.1", port), timeout=10) == wanted:
                return
        except OSError:
            assert time.monotonic() < end, "nobody answers"
        assert time.monotonic() < end, "another certificate"
        time.sleep(0.1)
