"""The front: a streaming reverse proxy before the active release. Switching is one assignment.

Only an ordinary user's routes pass; run-time LoRA, dev-mode and admin routes of vLLM never do. Bodies are
never logged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deploy.vllm.child import Child

__all__ = ["ALLOWED", "Front"]

ALLOWED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/health", "/version")
_BODY_BYTES_MAX = 16 << 20
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "content-length",
}  # fmt: skip
_TRIES = 2


class Front:
    """An ASGI application that forwards to whatever ``active`` returns at that moment."""

    def __init__(self, active: Callable[[], Child | None]) -> None:
        """Take how to find the active release's server."""
        self._active = active
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(600.0, connect=5.0), limits=httpx.Limits(max_connections=None)
        )
        self.app = Starlette(routes=[Route(path, self._forward, methods=["GET", "POST"]) for path in ALLOWED])

    async def aclose(self) -> None:
        """Close connections to the servers."""
        await self._http.aclose()

    async def _forward(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _BODY_BYTES_MAX:
                return _error(413, f"the body is larger than {_BODY_BYTES_MAX} bytes")
        for _ in range(_TRIES):
            child = self._active()
            if child is None:
                break
            child.in_flight += 1
            try:
                answer = await self._http.send(self._request(request, child, body), stream=True)
            except httpx.TransportError:
                child.in_flight -= 1
                continue
            except BaseException:
                child.in_flight -= 1
                raise
            return StreamingResponse(
                _relay(answer, child), status_code=answer.status_code, headers=_headers(answer.headers)
            )
        return _error(503, "no release can answer now; ask again", retry_after=True)

    def _request(self, request: Request, child: Child, body: bytes) -> httpx.Request:
        url = f"http://127.0.0.1:{child.port}{request.url.path}"
        if request.url.query:
            url += f"?{request.url.query}"
        return self._http.build_request(request.method, url, headers=_headers(request.headers), content=body)


async def _relay(answer: httpx.Response, child: Child) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        child.in_flight -= 1
        await answer.aclose()


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in _HOP_BY_HOP}


def _error(status: int, message: str, *, retry_after: bool = False) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "alignd", "code": status}},
        status_code=status,
        headers={"Retry-After": "1"} if retry_after else {},
    )
