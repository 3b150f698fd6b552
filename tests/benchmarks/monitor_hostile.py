"""Sequences of hostile calls against a real daemon: what it remembers and serves must stay, and each is put down.

Run as ``python -m tests.benchmarks.monitor_hostile``; the last line is one JSON object with ``hostile_sequences`` and
``hostile_effects``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from deploy.vllm.child import free_port
from monitor.web.access import digest_of, new_token

__all__ = ["SEQUENCES", "Daemon", "attack", "daemon", "main", "snapshot"]

ROOT = Path(__file__).resolve().parents[2]
PAUSE = "/api/v1/targets/prod/pause"
_LEFT_OUT = frozenset({"audit", "sqlite_sequence"})
"""Of the store's tables: the audit log is meant to grow, and is looked at by itself."""

CONFIG = """
key: long-enough-secret
targets:
- name: prod
  endpoint: http://127.0.0.1:{served}/v1
  model: m
  deployer: {{plugin: external, options: {{release: served, endpoint: "http://127.0.0.1:{served}/v1"}}}}
  schedule: {{interval_seconds: 86400, burst_interval_seconds: 86400}}
listen: {{port: {port}}}
api:
  tokens:
  - {{name: reader, sha256: "{reader}", scopes: [read]}}
  - {{name: operator, sha256: "{operator}", scopes: [read, operate]}}
  - {{name: late, sha256: "{late}", scopes: [read, operate, approve], expires: {ended}}}
hooks:
  alertmanager: {{secret: a-secret-of-a-site, rules: [{{target: prod, action: remediate}}]}}
"""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A daemon that runs."""

    folder: Path
    port: int
    tokens: Mapping[str, str]

    def call(self, method: str, path: str, who: str = "", *, token: str = "", **more: object) -> int:
        """Make one call; return its status."""
        shown = token or self.tokens.get(who, "")
        headers = dict(more.pop("headers", {}))  # type: ignore[call-overload]
        if shown:
            headers["Authorization"] = f"Bearer {shown}"
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.request(method, url, headers=headers, timeout=20, **more).status_code  # type: ignore[arg-type]

    def raw(self, sent: bytes, *, wait: float = 2.0) -> int:
        """Send bytes as they are; return the status, 0 where the connection was closed without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as link:
            link.sendall(sent)
            try:
                answer = link.recv(65536)
            except TimeoutError:
                return -1
        return int(answer.split(b" ")[1]) if answer else 0


def snapshot(daemon: Daemon) -> dict[str, list[tuple[object, ...]]]:
    """Return all that the store holds beside the audit log."""
    with sqlite3.connect(daemon.folder / "alignd.db") as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {
            n: sorted(db.execute(f'SELECT * FROM "{n}"').fetchall(), key=repr) for n in names if n not in _LEFT_OUT
        }


def _head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def _json(more: str = "", length: int = 2) -> tuple[str, ...]:
    return tuple(filter(None, ("Content-Type: application/json", f"Content-Length: {length}", more)))


def _stranger_alert(d: Daemon) -> list[int]:
    alert = {"status": "firing", "labels": {}, "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "f"}
    body = {"version": "4", "groupKey": "g", "alerts": [alert]}
    forged = {"X-Grafana-Alerting-Signature": "0" * 64, "X-Grafana-Alerting-Timestamp": str(int(time.time()))}
    path = "/api/v1/hooks/alertmanager"
    return [d.call("POST", path, json=body), d.call("POST", path, json=body, headers=forged),
            d.call("POST", path, "reader", json=body)]  # fmt: skip


def _bearer(d: Daemon, who: str = "operator") -> str:
    return f"Authorization: Bearer {d.tokens[who]}"


def _smuggled(d: Daemon) -> list[int]:
    inner = _head(PAUSE, _bearer(d), *_json()) + b"{}"
    both = _head("/api/v1/whoami", f"Content-Length: {len(inner) + 5}", "Transfer-Encoding: chunked")
    lengths = ("Content-Length: 2", "Content-Length: 3")
    return [d.raw(both + b"0\r\n\r\n" + inner), d.raw(_head(PAUSE, _bearer(d), *lengths) + b"{}")]


SEQUENCES: Mapping[str, Callable[[Daemon], list[int]]] = {
    "no token": lambda d: [d.call("POST", PAUSE, json={}), d.call("DELETE", PAUSE)],
    "unknown token": lambda d: [d.call("POST", PAUSE, token=new_token(), json={})],
    "malformed token": lambda d: [d.call("POST", PAUSE, token="alignd_x", json={})],
    "expired token": lambda d: [d.call("POST", PAUSE, "late", json={})],
    "wrong scope: pause": lambda d: [d.call("POST", PAUSE, "reader", json={})],
    "wrong scope: sweep": lambda d: [d.call("POST", "/api/v1/targets/prod/sweep", "reader")],
    "wrong scope: order": lambda d: [d.call("POST", "/api/v1/incidents/x/orders", "operator", json={"order": "abort"})],
    "forged cookie": lambda d: [d.call("POST", PAUSE, json={}, headers={"Cookie": "alignd-session=forged"})],
    "forged and foreign alerts": _stranger_alert,
    "cross-site": lambda d: [d.call("POST", PAUSE, "operator", json={}, headers={"Origin": "http://evil.example"})],
    "cross-site by a form": lambda d: [d.call("POST", PAUSE, "operator", data={"reason": "x"})],
    "foreign host": lambda d: [d.call("POST", PAUSE, "operator", json={}, headers={"Host": "evil.example"})],
    "oversize": lambda d: [d.call("POST", PAUSE, "operator", json={"reason": "x" * 2_000_000})],
    "unknown field": lambda d: [d.call("POST", PAUSE, "operator", json={"target": "other", "reason": "x"})],
    "line break in a field": lambda d: [d.call("POST", PAUSE, "operator", json={"reason": "a\r\nX: y"})],
    "path traversal": lambda d: [d.raw(_head("/api/v1/targets/..%2f..%2fprod/pause", _bearer(d), *_json()) + b"{}"),
                                 d.raw(_head("/../../etc/passwd", method="PUT"))],
    "header injection": lambda d: [d.raw(_head(PAUSE, _bearer(d), *_json("X: a\x00b")) + b"{}")],
    "two tokens": lambda d: [d.raw(_head(PAUSE, _bearer(d, "reader"), _bearer(d), *_json()) + b"{}")],
    "request smuggling": _smuggled,
    "slow headers": lambda d: [d.raw(b"POST " + PAUSE.encode() + b" HTTP/1.1\r\nHost: a\r\nX: ", wait=20)],
    "slow body": lambda d: [d.raw(_head(PAUSE, _bearer(d), *_json(length=20)) + b"{", wait=20)],
    "guessed sign-ins": lambda d: [d.call("POST", "/api/v1/session", json={"token": new_token()}) for _ in range(12)],
}  # fmt: skip


def _put_down(daemon: Daemon) -> int:
    """Return how many refusals the daemon's log holds."""
    lines = (daemon.folder / "log").read_text().splitlines()
    return sum(json.loads(line)["action"] == "api_refused" for line in lines if line.startswith("{"))


def attack(daemon: Daemon, name: str) -> str:
    """Run one sequence; say what it did that it should not have, or nothing."""
    before, known = snapshot(daemon), _put_down(daemon)
    statuses = SEQUENCES[name](daemon)
    after = snapshot(daemon)
    if after != before:
        return f"changed {', '.join(k for k in after if after[k] != before.get(k))}"
    if taken := [s for s in statuses if s != 0 and s < 400]:
        return f"was answered {taken}"
    end = time.monotonic() + 5
    while _put_down(daemon) <= known:  # it is put down once the answer has gone out
        if time.monotonic() > end:
            return "was not put down"
        time.sleep(0.05)
    return ""


@contextmanager
def daemon(folder: Path) -> Iterator[Daemon]:
    """Run the program on a store and a server of its own, until it has probed once."""
    tokens = {name: new_token() for name in ("reader", "operator", "late")}
    served, port = free_port(), free_port()
    digests = {name: digest_of(token) for name, token in tokens.items()}
    ended = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    (folder / "alignd.yaml").write_text(CONFIG.format(served=served, port=port, ended=ended, **digests))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-m", "tests.fake_server", str(served), "m", "x"], cwd=ROOT, env=env)
    with (folder / "log").open("wb") as out:
        program = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "--config", str(folder / "alignd.yaml")], cwd=ROOT, env=env,
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while '"action": "sweep"' not in (folder / "log").read_text():
            if time.monotonic() > end or program.poll() is not None:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            time.sleep(0.2)
        yield Daemon(folder=folder, port=port, tokens=tokens)
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(20)
        server.terminate()
        server.wait(10)


def main() -> None:
    """Run them all, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder)) as running:
        found = {name: attack(running, name) for name in SEQUENCES}
        if (status := running.call("GET", "/api/v1/targets", "reader")) != 200:
            found["afterwards"] = f"who may read is answered {status}"
    for name, why in found.items():
        print(f"{name}: {why or 'nothing'}")
    print(json.dumps({"hostile_sequences": len(SEQUENCES), "hostile_effects": sum(bool(w) for w in found.values())}))


if __name__ == "__main__":
    main()
