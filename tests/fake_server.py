"""A stand-in for vLLM's server, for tests of the supervisor: answers at once and names its release."""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


def app(name: str, release: str) -> Starlette:
    async def complete(request: Request) -> Response:
        body = await request.json()
        await asyncio.sleep(body.get("x_seconds", 0))
        said = {
            "model": name, "system_fingerprint": release,
            "choices": [{"message": {"content": "hello"}, "text": "hello", "finish_reason": "stop"}],
        }  # fmt: skip
        if body.get("stream"):
            return StreamingResponse(iter([b"data: 1\n\n", b"data: [DONE]\n\n"]), media_type="text/event-stream")
        return JSONResponse(said)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse("vllm:num_requests_running 1.0\nvllm:num_requests_waiting 0.0\n")

    asked = [Route(p, complete, methods=["POST"]) for p in ("/v1/completions", "/v1/chat/completions")]
    return Starlette(routes=[*asked, Route("/metrics", metrics)])


if __name__ == "__main__":
    port, served, fingerprint = sys.argv[1:4]
    if fingerprint.startswith("broken"):
        sys.exit("ValueError: broken on purpose")
    uvicorn.run(app(served, fingerprint), host="127.0.0.1", port=int(port), log_level="warning")
