"""The daemon on a real PostgreSQL that goes away and comes back."""

from __future__ import annotations

import json
import signal
import time
from contextlib import closing
from pathlib import Path

import httpx

from monitor.audit import verify
from monitor.stores.sql import SqlStore
from tests.e2e.test_daemon_process import api, daemon, wait_for
from tests.postgres_host import PostgresHost

__all__ = ["api"]


def actions(folder: Path) -> list[str]:
    return [json.loads(line)["action"] for line in (folder / "log").read_text().splitlines()]


def test_it_goes_on_when_its_store_is_back(api: str, tmp_path: Path, postgres: PostgresHost) -> None:
    url = postgres.new_database()
    with (tmp_path / "alignd.yaml").open("a") as config:
        config.write(f"store: {{url: '{url}'}}\n")
    process = daemon(tmp_path)
    try:
        wait_for(api, lambda status: bool(status["incidents"]))
        postgres.stop()
        try:
            time.sleep(5)
            assert process.poll() is None
            assert httpx.get(f"{api}/healthz").status_code == 200
        finally:
            postgres.start()
        end = time.monotonic() + 60
        while "store_back" not in actions(tmp_path):
            assert time.monotonic() < end, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        assert actions(tmp_path).count("store_unavailable") == 1
        assert "secret-word" not in (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)
    with closing(SqlStore(url)) as store:
        told = [e.action for e in store.audit_chain()]
        assert verify(store.audit_chain()).intact
    assert [told.count(a) for a in ("daemon_started", "incident_opened", "daemon_stopped")] == [1, 1, 1]
