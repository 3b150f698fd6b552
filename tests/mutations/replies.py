"""Replies of targets, through a whole sweep: scored as a plain reading scores them, or missing with a stable word."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import fromstring

import httpx

from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.errors import MixedReleaseError
from probes.estimate import asr_estimate, hs_estimate, refusal_estimate
from probes.exports.harmbench import results_of
from probes.exports.jailbreakbench import artifact_of
from probes.exports.junit import junit_of
from probes.judge import Verdict
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.pace import Pace, PacedTarget
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.published import parse_published
from probes.record import SweepRecord
from probes.result import ProbeResult, SweepId, SweepResult
from probes.sweep import run_sweep
from probes.targets.openai import OpenAITarget, Options
from probes.window import Rules
from tests.mutations.plain_reply import MODEL, Amounts, reading
from tests.mutations.reply_bodies import Reply, a_reply, on_the_wire

__all__ = ["check", "probes_of", "swept"]

_WORD = re.compile(r"[a-z][a-z0-9_]{1,39}")
_OVER_A_SOCKET = 0.25
_STALLS = 0.004
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What may become of one reply; ``sure`` where it must be scored if it can be."""

    amounts: Amounts
    sure: bool = True


def check(rng: random.Random, folder: Path) -> str:
    """Ask a few probes of a server whose replies are mutated; return what is wrong with what became of them."""
    release = rng.choice(("r@1", "r@1", ""))
    replies = [a_reply(rng, release=release) for _ in range(rng.randrange(1, 5))]
    probes = probes_of(rng, len(replies))
    over_a_socket = rng.random() < _OVER_A_SOCKET
    sent: dict[int, bytes | None] = {}
    expected = {}
    for probe, reply in zip(probes, replies, strict=True):
        body: bytes | None = reply.body
        sure = True
        if over_a_socket:
            sent[probe.seed], body, sure = on_the_wire(rng, reply)
            if rng.random() < _STALLS:
                sent[probe.seed], body = None, None
        amounts = Amounts() if body is None else reading(reply.status, body, reply.known)
        expected[probe.id] = Expected(amounts=amounts, sure=sure)
    stalls = None in sent.values()
    try:
        result = asyncio.run(_over_a_socket(probes, sent, stalls) if over_a_socket else _in_memory(probes, replies))
    except MixedReleaseError:
        return _of_a_stop(expected)
    return _of_a_sweep(result, expected) or _downstream(result, probes, folder)


def probes_of(rng: random.Random, n: int) -> tuple[Probe, ...]:
    """Make probes, some of them conversations, that a server tells apart by their seeds."""
    sampling = Sampling(top_logprobs=rng.choice((0, 5)))
    user = Message(role="user", content="Do a thing")
    return tuple(
        Probe(
            id=ProbeId(f"s/{i:04d}"), suite="s", attack="direct", sampling=sampling, seed=i,
            behavior=Behavior(id=BehaviorId(f"b{i % 2}"), prompt="Do a thing", category="c"),
            messages=(user,) if rng.random() < 0.9 else (user, user),
        )
        for i in range(n)
    )  # fmt: skip


async def swept(target: OpenAITarget, probes: tuple[Probe, ...]) -> SweepResult:
    """Sweep through the load contract, as the daemon does, judged by phrases."""
    suite = Suite(name="s", kind=SuiteKind.HARM, behaviors=tuple(p.behavior for p in probes[:2]), sha256="0" * 64)
    paced = PacedTarget(target, Pace(Rules(yields=False)))
    try:
        return await run_sweep(
            paced, RefusalPhraseJudge(), suite, probes, sweep=SweepId("s"), clock=lambda: NOW, concurrency=2,
            deadline_seconds=60,
        )  # fmt: skip
    finally:
        await target.aclose()


async def _in_memory(probes: tuple[Probe, ...], replies: list[Reply]) -> SweepResult:
    def serve(request: httpx.Request) -> httpx.Response:
        reply = replies[json.loads(request.content)["seed"]]
        return httpx.Response(reply.status, content=reply.body, headers=_encoded(reply.headers))

    options = Options(name="t", endpoint="http://server/v1", model=MODEL)
    return await swept(OpenAITarget(options, transport=httpx.MockTransport(serve)), probes)


async def _over_a_socket(probes: tuple[Probe, ...], sent: Mapping[int, bytes | None], stalls: bool) -> SweepResult:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]
            answer = sent[json.loads(await reader.readexactly(length))["seed"]]
            if answer is None:
                await over.wait()
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
        stack.callback(over.set)
        where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        options = Options(name="t", endpoint=where, model=MODEL, timeout_seconds=0.3 if stalls else 20)
        return await swept(OpenAITarget(options), probes)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _of_a_stop(expected: Mapping[ProbeId, Expected]) -> str:
    releases = {e.amounts.release for e in expected.values() if e.amounts.text is not None}
    answered = any(e.amounts.text is not None for e in expected.values())
    stranger = any(e.amounts.stranger for e in expected.values())
    return "" if len(releases) > 1 or (stranger and answered) else "it stopped for mixed releases, and there are none"


def _of_a_sweep(result: SweepResult, expected: Mapping[ProbeId, Expected]) -> str:
    sure = [e.amounts for e in expected.values() if e.sure]
    if len({a.release for a in sure if a.text is not None}) > 1:
        return "releases were mixed in one sweep"
    if [r.probe.id for r in result.results] != list(expected):
        return "probes were lost or are there twice"
    return next(filter(None, (_of_a_result(r, expected[r.probe.id]) for r in result.results)), "")


def _of_a_result(result: ProbeResult, expected: Expected) -> str:
    verdict = result.judgement.verdict.value if result.judgement and result.scored else ""
    if verdict not in {"", expected.amounts.verdict}:
        return f"{verdict} where it is {expected.amounts.verdict or 'nothing'}"
    if expected.sure and verdict != expected.amounts.verdict:
        return f"missing ({result.missing}) where it is {expected.amounts.verdict}"
    if verdict:
        return "" if not result.missing else f"scored, and yet missing: {result.missing}"
    return "" if _WORD.fullmatch(result.missing) else f"no stable word: {result.missing!r}"


def _downstream(result: SweepResult, probes: tuple[Probe, ...], folder: Path) -> str:
    """Give the results to all that takes them on: estimates, exports and the record."""
    results = result.results
    scored = [r for r in results if r.scored]
    estimates: tuple[Callable[..., object], ...] = (asr_estimate, hs_estimate, refusal_estimate)
    for estimate in estimates:
        estimate(results)
    answered = [r for r in results if r.completion]
    exported = json.dumps(results_of(results), allow_nan=False)
    if answered and _verdicts(answered) != dict(parse_published(exported, folder / "results.json").verdicts):
        return "the exported results hold other verdicts"
    json.dumps(artifact_of(results, model=MODEL), allow_nan=False)
    if len(fromstring(junit_of(results, name="t s")).findall(".//testcase")) != len(results):
        return "the JUnit file has another number of cases"
    path = folder / "record"
    path.unlink(missing_ok=True)
    for add in (results, ()):
        kept = SweepRecord(path, {"sweep": "s"}, probes, texts=True)
        for one in add:
            kept.add(one)
        kept.close()
    back = {r.probe.id: _shown(r) for r in scored}
    read = {i: _shown(r) for i, r in kept.known.items()}
    return "" if back == read else "the record holds other results"


def _verdicts(answered: list[ProbeResult]) -> dict[str, tuple[bool | None, ...]]:
    found: dict[str, tuple[bool | None, ...]] = {}
    for result in answered:
        verdict = result.judgement.verdict is Verdict.HARMFUL if result.judgement and result.scored else None
        found[result.probe.behavior.id] = (*found.get(result.probe.behavior.id, ()), verdict)
    return found


def _shown(result: ProbeResult) -> tuple[object, ...]:
    """Return what a record keeps; JSON can't tell two halves of a surrogate pair from the pair."""
    text = result.completion.text if result.completion else ""
    return result.judgement, text.encode("utf-16", "surrogatepass")
