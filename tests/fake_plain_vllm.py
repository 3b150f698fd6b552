"""vLLM's own routes for adapters, in memory, as 0.32 answers them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

__all__ = ["FakePlainVllm"]


@dataclass
class FakePlainVllm:
    """``start`` loses the adapters, as a restart does."""

    base: str
    rank_max: int = 16
    loras_max: int = 2
    loads_at_run_time: bool = True
    api_key: str = ""
    number: float | None = -0.5
    figures: bool = True
    adapters: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    pause_seconds: float = 0.0
    """Between parts of a stream."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of requests for completions, in order."""

    def start(self) -> None:
        self.adapters.clear()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app))

    @property
    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/completions", self._complete, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/metrics", self._metrics),
            Route("/version", self._version),
        ]
        if self.loads_at_run_time:
            routes += [
                Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]),
            ]
        return Starlette(routes=routes)

    async def _models(self, request: Request) -> Response:
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return JSONResponse({"error": "Unauthorized"}, status_code=401)
        return JSONResponse({"object": "list", "data": [{"id": n} for n in (self.base, *self.adapters)]})

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        rank = json.loads((Path(path) / "adapter_config.json").read_text())["r"]
        if rank > self.rank_max:
            return _error(500, f"LoRA rank {rank} is greater than max_lora_rank {self.rank_max}.")
        self.adapters[name] = path
        return PlainTextResponse("Success")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return PlainTextResponse("Success")

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        model = body["model"]
        if model not in {self.base, *self.adapters}:
            return _error(404, f"The model `{model}` does not exist.")
        logprobs = {"token_logprobs": [self.number]}
        choice = {"index": 0, "text": model, "logprobs": logprobs, "finish_reason": "stop"}
        said = {"id": "c", "object": "text_completion", "created": 1, "model": model, "choices": [choice]}
        return Response(json.dumps(said), media_type="application/json")  # NaN too

    async def _chat(self, request: Request) -> Response:
        """Answer with the model's name, in a stream one character after the other."""
        body = await request.json()
        self.asked.append(body)
        model = body["model"]
        if model not in {self.base, *self.adapters}:
            return _error(404, f"The model `{model}` does not exist.")
        same = {"id": "c", "created": 1, "model": model, "system_fingerprint": "of the process"}
        if body.get("stream"):
            return StreamingResponse(self._parts(same, model), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": model}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return JSONResponse({**same, "object": "chat.completion", "choices": [choice], "usage": usage})

    async def _parts(self, same: dict[str, object], text: str) -> AsyncIterator[str]:
        for part in (*text, None):
            delta = {} if part is None else {"content": part}
            choice = {"index": 0, "delta": delta, "finish_reason": None if part else "stop"}
            chunk = {**same, "object": "chat.completion.chunk", "choices": [choice]}
            yield f"data: {json.dumps(chunk)}\n\n"
            await asyncio.sleep(self.pause_seconds)
        yield "data: [DONE]\n\n"

    async def _metrics(self, request: Request) -> Response:
        if not self.figures:
            return PlainTextResponse("forbidden", status_code=403)
        labels = f'max_lora="{self.loras_max}",running_lora_adapters="{{}}",waiting_lora_adapters=""'
        old, now = labels.format("gone@1"), labels.format(",".join(sorted(self.running)))
        lines = (f"vllm:lora_requests_info{{{old}}} 1.0e+09", f"vllm:lora_requests_info{{{now}}} 1.7e+09")
        return PlainTextResponse("\n".join(lines) + "\n")

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": "0.32.0"})


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "code": status}}, status_code=status)
