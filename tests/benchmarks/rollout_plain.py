"""The plain way to change a release, to compare with: stop the server, start it with the new path.

``python -m tests.benchmarks.rollout_plain`` prints its figures as one JSON object; ``rollout`` runs it among others.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from asyncio.subprocess import Process
from pathlib import Path

import httpx

from deploy.checkpoint import Release
from deploy.vllm.child import free_port, vllm_command
from tests.traffic import Traffic
from tests.vllm_host import NAME, START_SECONDS, Host

__all__ = ["measure"]

_ASKED = {
    "model": NAME, "messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 8, "temperature": 0,
    "ignore_eos": True,
}  # fmt: skip


_ANSWERS = 20
"""Of each release, before and after the change."""


async def measure(folder: Path) -> dict[str, object]:
    """Restart a server with another release under the users' eyes.

    Returns:
        ``plain_restart_downtime_seconds``, from the last answer of the old server to the first of the new one, and
        ``plain_restart_failed_requests``.
    """
    host, port = Host.make(folder), free_port()
    server = await _start(host.a, port, folder)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", timeout=120) as users:
        try:
            async with Traffic(users, _ASKED, named_by="system_fingerprint") as traffic:
                await _answered_by(traffic, host.a)
                await _stop(server)
                server = await _start(host.b, port, folder)
                await _answered_by(traffic, host.b)
        finally:
            await _stop(server)
    first = next(i for i, answer in enumerate(traffic.answers) if answer.release)
    answers = traffic.answers[first:]  # before it the first server was not up yet
    ended = {r.id: [a.ended_at for a in answers if a.release == r.id] for r in (host.a, host.b)}
    return {
        "plain_restart_downtime_seconds": round(min(ended[host.b.id]) - max(ended[host.a.id]), 2),
        "plain_restart_failed_requests": sum(a.status != httpx.codes.OK for a in answers),
    }


async def _start(release: Release, port: int, folder: Path) -> Process:
    command = vllm_command(name=NAME, max_model_len=1024, dtype="float32", max_num_seqs=16)
    ours = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("ab") as out:
        return await asyncio.create_subprocess_exec(
            *command(release, port), stdout=out, stderr=out, env={**os.environ, **ours}
        )


async def _stop(server: Process) -> None:
    if server.returncode is None:
        server.terminate()
        await server.wait()


async def _answered_by(traffic: Traffic, release: Release) -> None:
    async with asyncio.timeout(START_SECONDS):
        while sum(a.release == release.id for a in traffic.answers) < _ANSWERS:
            await asyncio.sleep(0.05)


def main() -> None:
    """Print the JSON object."""
    with tempfile.TemporaryDirectory(prefix="alignd-rollout-") as folder:
        print(json.dumps(asyncio.run(measure(Path(folder)))))


if __name__ == "__main__":
    main()
