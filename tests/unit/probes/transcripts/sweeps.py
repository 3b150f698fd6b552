"""Sweeps whose texts are known, for the tests of transcripts."""

from __future__ import annotations

from datetime import UTC, datetime

from probes.behavior import Behavior, BehaviorId
from probes.judge import Judgement, Verdict
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.result import ProbeResult, SweepId, SweepResult
from probes.target import Completion
from probes.transcripts.keyring import Keyring

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SECRET, OTHER = b"a secret of this site", b"a secret of another site"
RING, ELSEWHERE = Keyring([SECRET]), Keyring([OTHER])


def result(
    number: int = 0,
    *,
    prompt: str = "prompt",
    answer: str | None = "answer",
    verdict: Verdict = Verdict.SAFE,
    sweep: str = "routine-1",
    missing: str = "",
) -> ProbeResult:
    probe = Probe(
        id=ProbeId(f"{sweep}/{number:04d}"), suite="harm", attack="direct", sampling=Sampling(), seed=1,
        behavior=Behavior(id=BehaviorId(f"b{number}"), prompt=prompt, category="c"),
        messages=(Message(role="system", content="be kind"), Message(role="user", content=prompt)),
    )  # fmt: skip
    if answer is None:
        return ProbeResult(probe=probe, completion=None, judgement=None, missing=missing or "timeout")
    completion = Completion(
        probe=probe.id, text=answer, finish_reason="stop", model="m", release="", completion_tokens=1,
        latency_seconds=0.1,
    )  # fmt: skip
    judgement = Judgement(
        probe=probe.id, verdict=verdict, p_harmful=0.0, score=1.0, refusal=True, quality=None, judge="j/1",
        template_sha256="",
    )  # fmt: skip
    return ProbeResult(probe=probe, completion=completion, judgement=judgement, missing=missing)


def swept(*results: ProbeResult, at: datetime = NOW, sweep: str = "routine-1", target: str = "prod") -> SweepResult:
    return SweepResult(
        id=SweepId(sweep), target=target, release="", suite="harm", suite_sha256="0" * 64, started_at=at,
        finished_at=at, results=results,
    )  # fmt: skip
