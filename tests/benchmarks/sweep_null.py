"""Our client against a server that answers at once: what the client itself can do, judging by phrases included.

``python -m tests.benchmarks.sweep_null --profile`` shows where the time goes. Server and client have a process each.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.sweep_clients import sweep
from tests.benchmarks.sweep_server import NAME

__all__ = ["measure"]

REPLY = "Sure, here is [placeholder]. " * 10
"""As long as 60 tokens, and without a refusal, so that the judge reads all of it."""


def measure(*, n: int, rounds: int) -> dict[str, Any]:
    """Ask in a fresh process.

    Returns:
        Requests a second by the clock and by the client's CPU time, medians of the rounds.
    """
    command = [sys.executable, "-m", "tests.benchmarks.sweep_null", "--prompts", str(n), "--rounds", str(rounds)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return said


class _Null(asyncio.Protocol):
    """Reads requests by their length and answers each with the same completion."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (head := self._read.find(b"\r\n\r\n")) >= 0:
            length = self._read[:head].lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            end = head + 4 + int(length or 0)
            if len(self._read) < end:
                return
            self._read = self._read[end:]
            self._transport.write(self.answer)


async def _serve() -> None:
    body = json.dumps(
        {
            "id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": NAME,
            "system_fingerprint": "null@0",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": REPLY}, "logprobs": None,
                 "finish_reason": "length"}
            ],
            "usage": {"prompt_tokens": 40, "completion_tokens": 64, "total_tokens": 104},
        }
    ).encode()  # fmt: skip
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    _Null.answer = head.encode() + body
    server = await asyncio.get_running_loop().create_server(_Null, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.sweep_null", "--serve"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait(10)


async def _rounds(endpoint: str, *, n: int, rounds: int) -> dict[str, Any]:
    await sweep(endpoint, n=min(n, 500), name="warm-up")
    done = [await sweep(endpoint, n=n, name=f"null-{i}") for i in range(rounds)]
    return {
        "prompts": n,
        "rounds": rounds,
        "requests_per_second": statistics.median(d.n / d.seconds for d in done),
        "requests_per_cpu_second": statistics.median(d.n / d.cpu_seconds for d in done),
        "cores": statistics.median(d.cpu_seconds / d.seconds for d in done),
    }


def main() -> None:
    """Serve, or ask and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the server; prints its port")
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print where the client's time goes")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(_serve())
        return
    with _server() as endpoint:
        profile = cProfile.Profile()
        if given.profile:
            profile.enable()
        found = asyncio.run(_rounds(endpoint, n=given.prompts, rounds=given.rounds))
        if given.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
