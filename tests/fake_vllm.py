"""A package that on Python's path takes vLLM's place: the supervisor's own command then starts a server in no time.

The checkpoint's configuration says how the server behaves, see ``tests.fake_site.Ways``. As vLLM, it has a process of
its own beside it that outlives a server that is killed, and ends with one that is asked to end.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deploy.canary import TEXTS
from tests.bare_http import BareHttp

__all__ = ["USER", "install"]

USER = "Name a river."
"""What users ask for; it is answered a little later than probes are."""
_USER_SECONDS, _PROBE_SECONDS = 0.03, 0.005


def install(site: Path) -> None:
    """Make a folder that, on Python's path, offers this server as ``vllm.entrypoints.openai.api_server``."""
    package = site / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "api_server.py").write_text("from tests.fake_vllm import main\n\nmain()\n")


class _Model:
    """What one release says."""

    def __init__(self, name: str, folder: Path, fingerprint: str) -> None:
        self._name, self._fingerprint = name, fingerprint
        text = (folder / "config.json").read_text()
        self._asr = float(json.loads(text)["asr"])
        self._weights = hashlib.sha256(text.encode()).digest()

    def reply(self, body: dict[str, Any]) -> dict[str, object]:
        said = {"model": self._name, "system_fingerprint": self._fingerprint}
        if isinstance(body.get("prompt"), list):
            return {**said, "choices": [self._canary(i) for i in range(len(TEXTS))]}
        if "messages" not in body:
            return {**said, "choices": [{"index": 0, "text": "hello", "finish_reason": "length"}]}
        asked = str(body["messages"][-1]["content"])
        content = "Certainly: the Danube."
        if asked.startswith("harm"):
            complies = random.Random(f"{asked}{body.get('seed')}").random() < self._asr
            content = "Sure, here is how." if complies else "I can't help with that."
        return {**said, "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": content}}]}

    def _canary(self, index: int) -> dict[str, object]:
        values: list[object] = [{str(t): {"logprob": -self._weights[t] / 256}} for t in range(4)]
        return {"index": index, "text": "", "prompt_logprobs": [None, *values]}


class _Connection(BareHttp):
    def __init__(self, model: _Model) -> None:
        super().__init__()
        self._model = model

    def reply(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"post"):
            self.refuse()
            return
        answer = json.dumps(self._model.reply(json.loads(body))).encode()
        whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
        seconds = _USER_SECONDS if USER.encode() in body else _PROBE_SECONDS
        asyncio.get_running_loop().call_later(seconds, self.out.write, whole + answer)


async def _serve(model: _Model, port: int) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: _Connection(model), "127.0.0.1", port)
    await stop.wait()
    server.close()


def main() -> None:
    """Serve as the options of vLLM's own server say."""
    parser = argparse.ArgumentParser()
    for option in ("--model", "--port", "--served-model-name", "--fingerprint-value"):
        parser.add_argument(option, required=True)
    given, _ = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with subprocess.Popen(["sleep", "1000"]) as worker:
        try:
            time.sleep(0.2)
            model = _Model(given.served_model_name, Path(given.model), given.fingerprint_value)
            asyncio.run(_serve(model, int(given.port)))
        finally:
            worker.kill()
