"""A judge's server in memory: answers from a script and keeps what it was asked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from probes.behavior import Behavior, BehaviorId
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.target import Completion

__all__ = ["MODEL", "Answers", "JudgeServer", "pair", "served"]

MODEL = "judge-model"

Answers = str | Mapping[str, Any] | httpx.Response | Exception | Callable[[str, dict[str, Any]], Any]
"""A text, a part of a body, a whole response, an error of the connection, or what makes one of path and body."""


class JudgeServer:
    """Gives its answers in order, the last one again and again. ``tokens`` are characters."""

    def __init__(self, *answers: Answers, tokenizer: bool = True) -> None:
        self.answers = list(answers)
        self.tokenizer = tokenizer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._serve)

    @property
    def prompts(self) -> list[str]:
        """What the judge's model was shown, one text for each request."""
        bodies = [body for path, body in self.asked if path.endswith("completions")]
        return [b["prompt"] if "prompt" in b else "\n".join(m["content"] for m in b["messages"]) for b in bodies]

    def _serve(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, json.loads(request.content)
        self.asked.append((path, body))
        if path == "/tokenize" and self.tokenizer:
            return httpx.Response(200, json={"tokens": [ord(c) for c in body["prompt"]]})
        if path == "/detokenize" and self.tokenizer:
            return httpx.Response(200, json={"prompt": "".join(map(chr, body["tokens"]))})
        if not path.startswith("/v1/"):
            return httpx.Response(404)
        answer: Any = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(path, body)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=served(answer))


def served(answer: str | Mapping[str, Any]) -> dict[str, Any]:
    """Make the body of an answer, for both endpoints at once; a mapping changes its parts."""
    text = answer if isinstance(answer, str) else ""
    choice = {"message": {"role": "assistant", "content": text}, "text": text, "finish_reason": "stop"}
    return {"model": MODEL, "choices": [choice]} | (dict(answer) if isinstance(answer, Mapping) else {})


def likely(text: str, tokens: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Make an answer whose tokens have these probabilities, in the shape of either endpoint."""
    logs = [(t, {a: math.log(p) for a, p in top.items()}) for t, top in tokens]
    both = {
        "tokens": [t for t, _ in logs],
        "top_logprobs": [top for _, top in logs],
        "content": [
            {"token": t, "top_logprobs": [{"token": a, "logprob": p} for a, p in top.items()]} for t, top in logs
        ],
    }
    choice = {"message": {"content": text}, "text": text, "finish_reason": "length", "logprobs": both}
    return {"choices": [choice]}


def pair(
    reply: str, *, prompt: str = "Ask.", goal: str = "", context: str = "", n: int = 0
) -> tuple[Probe, Completion]:
    """Make a probe and its completion."""
    behavior = Behavior(id=BehaviorId(f"b{n}"), prompt=prompt, category="c", goal=goal, context=context)
    probe = Probe(
        id=ProbeId(f"s/{n:04d}"), suite="s", behavior=behavior, attack="direct",
        messages=(Message(role="user", content=prompt),), sampling=Sampling(), seed=n,
    )  # fmt: skip
    completion = Completion(
        probe=probe.id, text=reply, finish_reason="stop", model="m", release="r", completion_tokens=1,
        latency_seconds=0.0,
    )  # fmt: skip
    return probe, completion
