"""One vLLM server process that serves one release on a loopback port of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.checkpoint import Release
from deploy.errors import DeployError, DeployerUnavailable, StageError
from deploy.parent import die_with_parent
from deploy.vllm.answer import object_of
from deploy.vllm.left_over import remember
from deploy.vllm.session import DRAINED_SECONDS, kill, members, without_trackers

__all__ = [
    "Child",
    "ChildCommand",
    "free_port",
    "read_metrics",
    "require_answer",
    "start_child",
    "vllm_command",
]

ChildCommand = Callable[[Release, int], Sequence[str]]
"""Makes the command that serves a release on a port."""

_LOG_LINES = 8
_ANSWER_SECONDS = 10.0
_METRICS_SECONDS = 2.0
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, for loopback; reading all trusted roots would take 0.1 s of each roll-back."""
_URGENT = -1_000_000
"""Priority of a look at a server: before every user that waits."""
_WORKERS_SECONDS = 15.0
"""How long the rest of a group may take to end by itself once its server has; it tidies up shared memory then."""


@dataclass(slots=True)
class Child:
    """A running server. ``endpoint`` reaches this release and no other."""

    release: Release
    port: int
    process: asyncio.subprocess.Process
    log: Path
    in_flight: int = 0

    @property
    def endpoint(self) -> str:
        """OpenAI-compatible base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.returncode is None

    async def stop(self, *, drain_seconds: float) -> None:
        """Wait for requests in flight (bounded), then end the whole process group."""
        end = time.monotonic() + drain_seconds
        while self.in_flight and self.running and time.monotonic() < end:
            await asyncio.sleep(0.1)
        await _end(self.process)


def vllm_command(
    *, name: str, max_model_len: int, dtype: str, max_num_seqs: int
) -> ChildCommand:
    """Return the command maker for vLLM: every answer carries the release's id as its fingerprint.

    Requests are scheduled by priority, so that probes can stand behind users.
    """

    def command(release: Release, port: int) -> Sequence[str]:
        return (
            sys.executable, "-m", "vllm.entrypoints.openai.api_server",
            "--host", "127.0.0.1", "--port", str(port),
            "--model", str(release.path), "--served-model-name", name,
            "--max-model-len", str(max_model_len), "--dtype", dtype, "--max-num-seqs", str(max_num_seqs),
            "--enforce-eager", "--shutdown-timeout", "30", "--scheduling-policy", "priority",
            "--fingerprint-mode", "custom", "--fingerprint-value", release.id,
        )  # fmt: skip

    return command


async def start_child(
    release: Release, *, command: ChildCommand, name: str, logs: Path, timeout_seconds: float
) -> Child:
    """Start a server for a release and wait until it answers as that release.

    Args:
        logs: Folder for its log, and for a note that it was started, see ``deploy.vllm.left_over``.

    Raises:
        StageError: It did not come up; the message holds the last lines of its log.
        DeployerUnavailable: It was killed meanwhile, which says nothing of the release.
    """
    port, log = free_port(), logs / f"{release.id}.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *command(release, port), stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
                env=_environment(), start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
    except OSError as error:
        raise StageError(
            f"release {release.id}: its server can't be started ({error}); free disk or memory, then ask again"
        ) from error
    child = Child(release=release, port=port, process=process, log=log)
    try:
        remember(logs, process.pid)
        await _wait_ready(child, name, timeout_seconds)
    except BaseException:
        await _end(process)
        raise
    return child


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def require_answer(child: Child, name: str, *, seconds: float | None = None) -> None:
    """Have a server that came up before answer one token as its release: a process that is there may hang.

    Args:
        child: The server.
        name: Served model name.
        seconds: How long it may take; ten where a change waits for it.

    Raises:
        StageError: It does not in time, or answers as something else.
        DeployerUnavailable: It breaks off or has no completion, as one that is being killed; it may be started again.
    """
    seconds = _ANSWER_SECONDS if seconds is None else seconds
    try:
        async with asyncio.timeout(seconds), _client(seconds) as http:
            if await _answers(child, name, http):
                return
            why = "answers with no completion"
    except (TimeoutError, httpx.TimeoutException):
        raise StageError(
            f"{_failed(child)} is up and gave no token in {seconds:g} s; retire it, then ask again"
        ) from None
    except httpx.HTTPError as error:
        why = f"does not answer ({type(error).__name__})"
    raise DeployerUnavailable(f"{_failed(child)} was up and {why}; ask again")


async def read_metrics(child: Child) -> str:
    """Return a server's own metrics, in Prometheus' text format; empty where it does not show them in time."""
    try:
        async with asyncio.timeout(_METRICS_SECONDS), _client() as http:
            page = await http.get(f"http://127.0.0.1:{child.port}/metrics")
    except (httpx.HTTPError, TimeoutError):
        return ""
    return page.text if page.status_code == httpx.codes.OK else ""


async def _wait_ready(child: Child, name: str, timeout_seconds: float) -> None:
    """Ready is a one-token completion that names the expected model and release."""
    end = time.monotonic() + timeout_seconds
    async with _client() as http:
        while time.monotonic() < end:
            if not child.running:
                raise _ended(child)
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(min(30.0, timeout_seconds)):
                    if await _answers(child, name, http):
                        return
            await asyncio.sleep(0.25)
    raise StageError(f"{_failed(child)} was not ready in {timeout_seconds:g} s:\n{_tail(child.log)}")


async def _answers(child: Child, name: str, http: httpx.AsyncClient) -> bool:
    """Ask for one token.

    Raises:
        StageError: What answers is not this release's server, or wants a key that is not there.
    """
    body = {"model": name, "prompt": "Hello", "max_tokens": 1, "temperature": 0, "priority": _URGENT}
    answer = await http.post(f"{child.endpoint}/completions", json=body)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise StageError(f"{_failed(child)} wants an API key; set VLLM_API_KEY for `alignd serve`, or for no server")
    if answer.status_code != httpx.codes.OK:
        return False
    said = object_of(answer)
    if (said.get("model"), said.get("system_fingerprint")) != (name, child.release.id):
        raise StageError(
            f"{_failed(child)} answers as model {said.get('model')!r}, release {said.get('system_fingerprint')!r}; "
            f"another server holds port {child.port}"
        )
    return True


def _client(seconds: float = 30.0) -> httpx.AsyncClient:
    """A client for a server on loopback: never through a proxy, with the key that the server has too."""
    key = os.environ.get("VLLM_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(timeout=seconds, trust_env=False, verify=_NO_TLS, headers=headers)


def _ended(child: Child) -> DeployError:
    code = child.process.returncode
    if code == -signal.SIGKILL:
        return DeployerUnavailable(
            f"{_failed(child)} was killed while it started (SIGKILL), as Linux does where memory runs out; free some, "
            "then ask again"
        )
    return StageError(f"{_failed(child)} exited with {code}:\n{_tail(child.log)}")


def _failed(child: Child) -> str:
    return f"release {child.release.id}: its server (log: {child.log})"


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "Error" in line] or [
        *log.read_text(errors="replace").splitlines()
    ]
    return "\n".join(line[-300:] for line in lines[-_LOG_LINES:])


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole group: vLLM's engine is a process of its own and outlives a server that is killed."""
    _signal(process.pid, signal.SIGTERM)
    if not await _gone(process, DRAINED_SECONDS):
        kill(without_trackers(members(process.pid)))
        if not await _gone(process, 10.0):
            _signal(process.pid, signal.SIGKILL)
    await process.wait()


async def _gone(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait for a server, then for the rest of its group, which has a little longer; whether nothing is left."""
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)
        end = time.monotonic() + _WORKERS_SECONDS
        while members(process.pid):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.05)
        return True
    return False


def _signal(group: int, sig: int) -> None:
    """Send a signal to a process group, of which nothing may be left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sig)


def _environment() -> dict[str, str]:
    keep = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    keep.pop("VLLM_SERVER_DEV_MODE", None)
    keep.pop("VLLM_ALLOW_RUNTIME_LORA_UPDATING", None)
    if shutil.which("nvidia-smi") is None:
        keep.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        keep.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # else two servers share one bound core
        keep.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin at barriers starve the server beside them
    return keep
