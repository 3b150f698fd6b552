"""A checkpoint in this process as a target, so that the sweeps, judges and tasks that measure servers measure it too.

Requests that wait together are answered together: they are gathered until no more come in, sorted by length, and
answered greedily in a thread. The answers of a round are told all at once, so what is asked next makes one round again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jinja2 import TemplateError

from probes.errors import PermanentTargetError
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.target import Completion, Load
from remediation.checkpoints.chat import ChatModel

__all__ = ["CheckpointTarget", "message_ids"]

_BATCH = 64
_QUIET_TURNS = 3
"""Turns of the event loop without a new request after which a round begins."""


class _Asked(NamedTuple):
    probe: Probe
    ids: list[int]
    answer: asyncio.Future[Completion]


class _Said(NamedTuple):
    ids: list[int]
    first: tuple[tuple[str, float], ...]


class CheckpointTarget:
    """Answers from a loaded checkpoint, at temperature 0.

    The same requests at once give the same answers: what a request is answered with hangs, in the last digits, on what
    it is batched with. So a sweep asks with a concurrency of all its probes.
    """

    def __init__(self, chat: ChatModel, *, name: str, release: str = "", batch: int = _BATCH) -> None:
        """Take the model.

        Args:
            name: The target's name in results.
            release: What answers name as their release.
            batch: Requests in one forward pass.
        """
        self.name = name
        self._chat = chat
        self._release = release
        self._batch = batch
        self._waiting: list[_Asked] = []
        self._rounds: asyncio.Task[None] | None = None
        self._closed = False

    async def complete(self, probe: Probe) -> Completion:
        """Ask once.

        Raises:
            PermanentTargetError: The request can't be put to this model: sampled, too long, or in a form that its
                chat template does not know.
        """
        if self._closed:
            raise self._refusal("is closed", "closed", "make another")
        if probe.sampling.temperature:
            raise self._refusal(
                f"answers at temperature 0 only, not {probe.sampling.temperature:g}", "temperature", "ask with 0"
            )
        ids = self._ids(probe.messages, probe.sampling.max_tokens)
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(probe, ids, answer))
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._answer_all())
        return await answer

    async def ready(self) -> str:
        """Prove by a one-token completion that the model answers.

        Returns:
            The release.

        Raises:
            PermanentTargetError: Its chat template can't be used, or it is closed.
        """
        if self._closed:
            raise self._refusal("is closed", "closed", "make another")
        ids = self._ids((Message(role="user", content="Hello"),), 1)
        await asyncio.to_thread(self._chat.generate_ids, [ids], max_tokens=1)
        return self._release

    async def load(self) -> Load | None:
        """Say how many requests are waiting."""
        return Load(running=0, waiting=len(self._waiting), kv_cache_ratio=0.0, ttft_seconds=None)

    async def aclose(self) -> None:
        """Answer no more; the model itself is the caller's."""
        self._closed = True
        if self._rounds is not None:
            await self._rounds

    async def _answer_all(self) -> None:
        while await self._gathered():
            asked, self._waiting = self._waiting, []
            for sampling in dict.fromkeys(a.probe.sampling for a in asked):
                await self._round([a for a in asked if a.probe.sampling == sampling], sampling)

    async def _gathered(self) -> bool:
        """Wait until no more requests come in; ``False`` where there are none."""
        quiet, seen = 0, len(self._waiting)
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            quiet, seen = (quiet + 1 if len(self._waiting) == seen else 0), len(self._waiting)
        return seen > 0

    async def _round(self, asked: Sequence[_Asked], sampling: Sampling) -> None:
        asked = [a for a in asked if not a.answer.done()]
        if not asked:
            return
        began = time.monotonic()
        try:
            said = await asyncio.to_thread(self._say, [a.ids for a in asked], sampling)
        except (RuntimeError, ValueError, IndexError) as error:
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(
                        self._refusal(f"broke off ({error})", "model_failed", "ask in smaller batches or check it")
                    )
            return
        seconds = time.monotonic() - began
        for one, reply in zip(asked, said, strict=True):
            if not one.answer.done():
                one.answer.set_result(self._completion(one, reply, seconds))

    def _say(self, rows: Sequence[list[int]], sampling: Sampling) -> list[_Said]:
        answers = self._generate(rows, sampling.max_tokens)
        firsts = self._first_tokens(rows, sampling.top_logprobs) if sampling.top_logprobs else [()] * len(rows)
        return [_Said(ids, first) for ids, first in zip(answers, firsts, strict=True)]

    def _generate(self, rows: Sequence[list[int]], max_tokens: int) -> tuple[list[int], ...]:
        """Answer; where a batch does not fit into memory, take half of it from then on."""
        while True:
            try:
                return self._chat.generate_ids(rows, max_tokens=max_tokens, batch=self._batch)
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2

    @torch.no_grad()
    def _first_tokens(self, rows: Sequence[list[int]], k: int) -> list[tuple[tuple[str, float], ...]]:
        """Return the k likeliest first tokens of each answer with their log-probabilities, likeliest first."""
        found: list[tuple[tuple[str, float], ...]] = [()] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), self._batch):
            chosen = order[start : start + self._batch]
            ids, mask = (t.to(self._chat.model.device) for t in self._chat.pad([rows[i] for i in chosen], left=True))
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = self._chat.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1
            ).logits  # (n, 1, vocabulary)
            top = logits[:, -1].float().log_softmax(-1).topk(k)
            for i, values, tokens in zip(chosen, top.values.tolist(), top.indices.tolist(), strict=True):
                found[i] = tuple((self._chat.tokenizer.decode([t]), v) for t, v in zip(tokens, values, strict=True))
        return found

    def _completion(self, asked: _Asked, said: _Said, seconds: float) -> Completion:
        return Completion(
            probe=ProbeId(asked.probe.id),
            text=self._chat.tokenizer.decode(said.ids, skip_special_tokens=True),
            finish_reason="stop" if said.ids and said.ids[-1] in self._chat.end_ids else "length",
            model=self.name,
            release=self._release,
            completion_tokens=len(said.ids),
            prompt_tokens=len(asked.ids),
            latency_seconds=seconds,
            first_token=said.first,
        )

    def _ids(self, messages: Sequence[Message], max_tokens: int) -> list[int]:
        try:
            ids = message_ids(self._chat, messages)
        except (TemplateError, ValueError, TypeError) as error:
            raise self._refusal(
                f"its chat template refuses the conversation ({error})", "template",
                "choose another attack, or give the tokenizer a chat template",
            ) from error  # fmt: skip
        longest = getattr(self._chat.model.config, "max_position_embeddings", None)
        if longest is not None and len(ids) + max_tokens > longest:
            raise self._refusal(
                f"{len(ids)} tokens and {max_tokens} of an answer are more than its {longest}", "too_long",
                "ask shorter",
            )  # fmt: skip
        return ids

    def _refusal(self, what: str, reason: str, way_out: str) -> PermanentTargetError:
        return PermanentTargetError(f"target {self.name} {what}; {way_out}", reason=reason)


def message_ids(chat: ChatModel, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to where the answer begins, or goes on after its first words.

    Raises:
        ValueError: The tokenizer has no chat template.
        TemplateError: The template refuses the conversation, as some do a system message.
    """
    told = [{"role": m.role, "content": m.content} for m in messages]
    if messages[-1].role == "assistant":
        text = _opened(chat, told)
    else:
        text = chat.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    return list(chat.tokenizer(text, add_special_tokens=False).input_ids)


def _opened(chat: ChatModel, told: list[dict[str, str]]) -> str:
    """Render up to the first words of the answer, whose turn stays open."""
    try:
        return str(chat.tokenizer.apply_chat_template(told, tokenize=False, continue_final_message=True))
    except ValueError:  # the template changes the answer's words, so that its end can't be found
        text = chat.tokenizer.apply_chat_template(told[:-1], tokenize=False, add_generation_prompt=True)
        return f"{text}{told[-1]['content']}"
