"""A server in its own process that answers every chat request at once with the same words, and notes when each came.

It takes any name for its model's, and answers under that.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from tests.bare_http import BareHttp

__all__ = ["NullServer", "null_server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NullServer:
    """A running null server."""

    port: int
    text: str
    model: str = "null"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self) -> int:
        """How many chat requests were answered."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/asked", timeout=10) as said:
            return int(said.read())

    def arrivals(self) -> dict[str, list[float]]:
        """When chat requests came, by model, in seconds of the monotonic clock."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/arrivals", timeout=30) as said:
            found: dict[str, list[float]] = json.load(said)
        return found


@contextmanager
def null_server(*, text: str = "I can't help with that.", delay_seconds: float = 0.0) -> Iterator[NullServer]:
    """Run a null server until the block ends."""
    given = json.dumps({"text": text, "delay": delay_seconds})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.null_server", given], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield NullServer(port=int(process.stdout.readline()), text=text)
        finally:
            process.kill()


class _Connection(BareHttp):
    """Requests are answered in order."""

    arrivals: ClassVar[dict[str, list[float]]] = {}

    def __init__(self, rest: bytes, delay: float) -> None:
        super().__init__()
        self._rest, self._delay = rest, delay

    def reply(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"post"):
            model = str(json.loads(body)["model"])
            _Connection.arrivals.setdefault(model, []).append(time.monotonic())
            answer = _whole(b'{"model": %b, %b' % (json.dumps(model).encode(), self._rest))
            asyncio.get_running_loop().call_later(self._delay, self.out.write, answer)
        elif b"/asked" in head[:40]:
            self.out.write(_whole(str(sum(map(len, _Connection.arrivals.values()))).encode()))
        elif b"/arrivals" in head[:40]:
            self.out.write(_whole(json.dumps(_Connection.arrivals).encode()))
        else:
            self.refuse()


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def _serve(text: str, delay: float) -> None:
    said = {
        "system_fingerprint": "null@1", "usage": {"prompt_tokens": 20, "completion_tokens": 7},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }  # fmt: skip
    rest = json.dumps(said).encode()[1:]
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(rest, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    asyncio.run(_serve(told["text"], told["delay"]))
