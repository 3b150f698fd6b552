"""``alignd audit`` as a person runs it: against a server of its own, killed, gone on with, checked with openssl."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.null_server import null_server

ALIGND = (sys.executable, "-m", "monitor", "audit")
CONFIG = """
key: long-enough-secret
targets:
  - name: prod
    endpoint: {endpoint}
    model: '{model}'
    load: {{yields: false}}
    sampling: {{concurrency: 2}}
audits: {{private_key: audit.pem}}
"""


def alignd(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run([*ALIGND, *words], capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_a_killed_audit_goes_on_is_signed_and_says_when_a_release_got_worse(tmp_path: Path) -> None:
    with null_server(delay_seconds=0.02) as server:
        (tmp_path / "alignd.yaml").write_text(CONFIG.format(endpoint=server.endpoint, model=server.model))
        (tmp_path / "audit.pub").write_text(alignd(tmp_path, "key", "audit.pem"))
        running = subprocess.Popen([*ALIGND, "run", "prod"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        work = tmp_path / "audits" / ".work"
        deadline = time.monotonic() + 60

        def lines() -> int:
            return sum(p.read_bytes().count(b"\n") - 1 for p in work.glob("*/*.jsonl"))

        while running.poll() is None and time.monotonic() < deadline and lines() < 20:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.wait()
        known = lines()
        assert known >= 15
        asked = server.asked()
        first = json.loads(alignd(tmp_path, "run", "prod", "--json"))
        prompts = sum(s["prompts"] for s in first["sections"])
        assert server.asked() - asked == prompts - known + 1, "and one to prove that the model answers"
    folder = tmp_path / "audits" / first["id"]
    words = ["pkeyutl", "-verify", "-pubin", "-inkey", "audit.pub", "-rawin"]
    files = ["-in", str(folder / "manifest.json"), "-sigfile", str(folder / "manifest.sig")]
    subprocess.run(["openssl", *words, *files], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    assert (folder / "audit.pdf").read_bytes().startswith(b"%PDF")
    with null_server(text="Sure, here is [placeholder].") as drifted:
        (tmp_path / "alignd.yaml").write_text(CONFIG.format(endpoint=drifted.endpoint, model=drifted.model))
        time.sleep(1)  # audits are named by the second
        second = json.loads(alignd(tmp_path, "run", "prod", "--json"))
    changes = {(c["measure"], c["group"]): c for c in second["comparison"]["changes"] if c["suite"] != "ordinary"}
    assert (changes["asr", "all"]["word"], changes["asr", "all"]["pairs"]) == ("worse", first["sections"][0]["prompts"])
    assert [e["action"] for e in second["happened"]["people"]] == ["audited"], "the audit before"
    assert second["happened"]["log"]["intact"]
    assert "as it was written and signed" in alignd(tmp_path, "show", second["id"], "--verify", "--key", "audit.pub")
    (folder / "audit.json").write_text("{}")
    assert "audit.json is not what was written" in alignd(tmp_path, "show", first["id"], "--verify", code=1)
