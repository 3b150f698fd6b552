"""A real Alertmanager with the shipped file: which alert silences which, and who would be told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from deploy.stack.files import StackValues, render
from deploy.vllm.child import free_port

LIMIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[str]:
    """Its address; its receivers lead nowhere."""
    command, folder, port = program("prometheus-alertmanager"), tmp_path_factory.mktemp("alertmanager"), free_port()
    (folder / "alertmanager.yml").write_text(render("alertmanager/alertmanager.yml", StackValues(name="m")))
    words = [command, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + LIMIT_SECONDS
        while not _ready(address):
            assert time.monotonic() < end, (folder / "log").read_text()[-500:]
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/-/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def alert(name: str, severity: str, target: str = "") -> dict[str, Any]:
    labels = {"alertname": name, "severity": severity} | ({"target": target} if target else {})
    return {"labels": labels}


def told(address: str, alerts: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[str, bool]]:
    """Post alerts; return each one's receiver, and whether another silences it, by name and target."""
    assert httpx.post(f"{address}/api/v2/alerts", json=alerts).status_code == 200
    end = time.monotonic() + LIMIT_SECONDS
    while True:
        found = httpx.get(f"{address}/api/v2/alerts").json()
        if len(found) >= len(alerts) and all(a["status"]["state"] != "unprocessed" for a in found):
            break
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return {
        (a["labels"]["alertname"], a["labels"].get("target", "")): (
            a["receivers"][0]["name"], bool(a["status"]["inhibitedBy"])
        )
        for a in found
    }  # fmt: skip


def test_one_page_for_one_thing(alertmanager: str) -> None:
    """First what concerns a target, then the daemon's end, which silences all of it."""
    found = told(alertmanager, [
        alert("AligndBlind", "page", "a"), alert("AligndSweepsStale", "ticket", "a"),
        alert("AligndSweepsStale", "ticket", "b"), alert("AligndBreach", "page", "c"),
        alert("AligndIncidentOpen", "ticket", "c"), alert("AligndEscalated", "page", "c"),
        alert("AligndActionNeeded", "page", "c"), alert("AligndActionNeeded", "page", "d"),
    ])  # fmt: skip
    assert found == {
        ("AligndBlind", "a"): ("page", False), ("AligndSweepsStale", "a"): ("ticket", True),
        ("AligndSweepsStale", "b"): ("ticket", False), ("AligndBreach", "c"): ("page", False),
        ("AligndIncidentOpen", "c"): ("ticket", True), ("AligndEscalated", "c"): ("page", False),
        ("AligndActionNeeded", "c"): ("page", True), ("AligndActionNeeded", "d"): ("page", False),
    }  # fmt: skip
    after = told(alertmanager, [alert("AligndAway", "page")])
    assert after.pop(("AligndAway", "")) == ("page", False)
    assert all(silenced for _, silenced in after.values())
