"""ASGI middleware for vLLM: holds users' requests while weights change, and guards the routes that change them.

A paused vLLM queues every new request, the canary's too, so its weights can't be proved before it resumes, and once it
resumes it answers its users. Here users wait at the door instead: behind it the engine is drained, loaded, resumed and
proved, and only then are they let in. What waits longer than its holder said gets 503 and never unproved weights.

Dev-mode routes and those of run-time LoRA stand behind no API key. They answer only who shows the token of
``ALIGND_HOLD_TOKEN_FILE`` and, to change something, the newest fence; everybody else gets 404.

vLLM loads the class in its API process: ``--middleware deploy.vllm.hold.Hold``.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.durable import write_whole

__all__ = ["FENCE_HEADER", "TOKEN_FILE", "TOKEN_HEADER", "Hold"]

log = logging.getLogger("vllm.alignd")  # below vLLM's own logger, so that its settings show it

TOKEN_FILE = "ALIGND_HOLD_TOKEN_FILE"  # noqa: S105 - a variable's name
"""Environment variable; the fence is kept in a file beside the token's."""
TOKEN_HEADER = "x-alignd-token"  # noqa: S105 - a header's name
FENCE_HEADER = "x-alignd-fence"
_OWN = "/alignd/"
_USERS = ("/v1/", "/v2/", "/inference/", "/cohere/")
_USERS_TOO = {"/health", "/ping", "/version", "/metrics", "/tokenize", "/detokenize", "/invocations"}
_NEVER = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
_TOKEN_LENGTH_MIN = 32


class Hold:
    """The door. Its routes are ``GET /alignd/hold`` and ``POST /alignd/claim|hold|name|release``."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the application; the token's file must be there.

        Raises:
            RuntimeError: It isn't, or holds no token.
        """
        self._app = app
        file = Path(os.environ.get(TOKEN_FILE, ""))
        self._token = file.read_text().strip() if file.is_file() else ""
        if len(self._token) < _TOKEN_LENGTH_MIN:
            raise RuntimeError(f"{TOKEN_FILE}={file}: no token there; start the server with deploy.vllm.reload_server")
        self._fence_file = file.with_name("fence.json")
        self._fence, self._holder, self._claimed_at = self._read_fence()
        self._until = 0.0  # monotonic; only meant while the door is shut
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = 0
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer own routes, refuse guarded ones, hold users, pass the rest."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        path, known = str(scope["path"]), self._knows(scope)
        asks = path in _USERS_TOO or (path.startswith(_USERS) and path.rstrip("/") not in _NEVER)
        if path.startswith(_OWN):
            await (await self._own(Request(scope, receive)) if known else _missing())(scope, receive, send)
        elif known:
            changes = scope.get("method") != "GET" and not asks
            await ((self._fenced(scope) if changes else None) or self._app)(scope, receive, send)
        elif asks:
            await self._user(scope, receive, send)
        else:
            log.warning("refused %s %s: it needs the token of alignd's deployer", scope.get("method"), path)
            await _missing()(scope, receive, send)

    async def _user(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = scope["type"] == "websocket" or scope["method"] == "POST"
        if asks and not await self._let_in():
            await _busy()(scope, receive, send)
            return
        self._running += asks
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= asks

    async def _let_in(self) -> bool:
        """Wait until the door opens; ``False`` where it does not within the holder's time."""
        self._waiting += 1
        try:
            while not self._open.is_set():
                if (left := self._until - time.monotonic()) <= 0:
                    return False
                try:
                    await asyncio.wait_for(self._open.wait(), left)
                except TimeoutError:
                    continue  # the holder may have asked for more time
            return True
        finally:
            self._waiting -= 1

    async def _own(self, request: Request) -> JSONResponse:
        """Do what the deployer asks of the door."""
        verb = request.url.path.removeprefix(_OWN)
        if request.method == "GET" and verb == "hold":
            return JSONResponse(self._state(request.scope))
        try:
            asked = await request.json()
            if verb == "claim":
                return self._claim(str(asked["holder"]))
            if refused := self._fenced(request.scope):
                return refused
            if verb == "hold":
                self._until = time.monotonic() + float(asked["seconds"])
                self._open.clear()
            elif verb == "name":
                _rename(request.scope, str(asked["fingerprint"]))
            elif verb == "release":
                self._open.set()
            else:
                return _missing()
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"error": "request", "message": "send what the deployer sends"}, status_code=400)
        log.info("%s fence %s", verb, self._fence)
        return JSONResponse(self._state(request.scope))

    def _state(self, scope: Scope) -> dict[str, object]:
        names = sorted({str(s.system_fingerprint or "") for s in _speakers(scope)})
        return {
            "held": not self._open.is_set(), "waiting": self._waiting, "running": self._running,
            "fingerprint": names[0] if len(names) == 1 else "", "fence": self._fence, "holder": self._holder,
        }  # fmt: skip

    def _knows(self, scope: Scope) -> bool:
        return hmac.compare_digest(_header(scope, TOKEN_HEADER).encode(), self._token.encode())

    def _fenced(self, scope: Scope) -> JSONResponse | None:
        given = _header(scope, FENCE_HEADER)
        if given.isdecimal() and int(given) >= self._fence:
            return None
        log.warning("fenced %s %s: fence %r, now %s", scope.get("method"), scope["path"], given, self._fence)
        message = f"holder {self._holder} took over at {self._claimed_at} (fence {self._fence}, not {given or 'none'})"
        return JSONResponse({"error": "fenced", "message": message}, status_code=409)

    def _claim(self, holder: str) -> JSONResponse:
        said = {"fence": self._fence + 1, "holder": holder, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        try:
            write_whole(self._fence_file, json.dumps(said))
        except OSError as error:
            log.error("claim_refused %s: %s", holder, error)
            message = (
                f"{self._fence_file} can't be written ({error.strerror}), so fence {self._fence} stays in force; free "
                "disk or mend the folder's rights, then ask again"
            )
            return JSONResponse({"error": "disk", "message": message}, status_code=507)
        self._fence, self._holder, self._claimed_at = self._read_fence()
        log.info("claimed fence %s by %s", self._fence, holder)
        return JSONResponse({"fence": self._fence})

    def _read_fence(self) -> tuple[int, str, str]:
        if not self._fence_file.exists():
            return 0, "", ""
        try:
            said = json.loads(self._fence_file.read_text())
            return int(said["fence"]), str(said["holder"]), str(said["at"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            # The count is lost: seconds since 1970 are above any, so that whoever held it is refused until it claims.
            log.error("fence_lost %s: %s; each deployer has to claim anew", self._fence_file, error)
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            return int(time.time()), f"nobody: {self._fence_file} was damaged; start the daemon again", at


def _speakers(scope: Scope) -> Iterator[Any]:
    """Yield the objects whose attribute every answer's ``system_fingerprint`` is read from, 0.32's private one."""
    for served in vars(scope["app"].state)["_state"].values():
        if hasattr(served, "system_fingerprint"):
            yield served


def _rename(scope: Scope, fingerprint: str) -> None:
    for speaker in _speakers(scope):
        speaker.system_fingerprint = fingerprint


def _header(scope: Scope, name: str) -> str:
    return next((v.decode("latin-1") for k, v in scope["headers"] if k == name.encode()), "")


def _missing() -> JSONResponse:
    return JSONResponse({"detail": "Not Found"}, status_code=404)


def _busy() -> JSONResponse:
    message = "the model is being changed; ask again"
    return JSONResponse(
        {"error": {"message": message, "type": "alignd", "code": 503}}, status_code=503, headers={"Retry-After": "2"}
    )
