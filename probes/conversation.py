"""One probe's way with a target: asked again once where that may help, and turn by turn where it is a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from probes.errors import HeldBack, PermanentTargetError, RetryableTargetError, TargetError
from probes.probe import Message, Probe
from probes.target import Completion, Target

__all__ = ["Hear", "converse", "turns"]

Hear = Callable[[TargetError | None], None]
"""Told what each request came to: an error, or an answer."""

_RETRY_AFTER_SECONDS_MAX = 10.0


def turns(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """Split messages where the target speaks: between two of the user that follow each other, and at the end.

    Yields:
        What is added before each of the target's replies; one part where it is no conversation.
    """
    begin = 0
    for i in range(1, len(messages)):
        if messages[i - 1].role == messages[i].role == "user":
            yield tuple(messages[begin:i])
            begin = i
    yield tuple(messages[begin:])


async def converse(target: Target, probe: Probe, hear: Hear = lambda _: None) -> tuple[Probe, Completion]:
    """Ask a probe, each turn with what was said before; a retryable failure is asked once more.

    Args:
        hear: Told of every request, those that are asked once more too.

    Returns:
        The probe with all that was said before the last reply, and that reply, with the tokens and time of all turns.

    Raises:
        TargetError: A turn failed, or another release answered it than the turn before.
        HeldBack: The prober keeps itself from asking.
    """
    said: tuple[Message, ...] = ()
    spent = (0, 0, 0.0)
    asked, last = probe, None
    for part in turns(probe.messages):
        said = (*said, *part)
        asked = probe if said == probe.messages else replace(probe, messages=said)
        completion = await _complete(target, asked, hear)
        if last and completion.release != last.release:
            raise PermanentTargetError(
                f"target {target.name}: {last.release} and {completion.release} answered in one conversation; "
                "sweep again when the rollout is over",
                reason="mixed_release",
            )
        spent = (
            spent[0] + completion.completion_tokens,
            spent[1] + completion.prompt_tokens,
            spent[2] + completion.latency_seconds,
        )
        said = (*said, Message(role="assistant", content=completion.text))
        last = completion
    if last is None:
        raise PermanentTargetError(f"target {target.name}: probe {probe.id} has no messages", reason="no_messages")
    return asked, replace(last, completion_tokens=spent[0], prompt_tokens=spent[1], latency_seconds=spent[2])


async def _complete(target: Target, probe: Probe, hear: Hear) -> Completion:
    try:
        return await _ask(target, probe, hear)
    except HeldBack:
        raise
    except RetryableTargetError as error:
        await asyncio.sleep(min(error.retry_after_seconds or 0.0, _RETRY_AFTER_SECONDS_MAX))
        return await _ask(target, probe, hear)


async def _ask(target: Target, probe: Probe, hear: Hear) -> Completion:
    try:
        completion = await target.complete(probe)
    except TargetError as error:
        hear(error)
        raise
    hear(None)
    return completion
