"""Our own client, as all parts of the benchmark run it: one sweep with the phrase judge."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from probes.attacks.direct import DirectAttack
from probes.behavior import Suite
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.pace import Pace, PacedTarget
from probes.plan import WeightedAttack, plan_sweep
from probes.probe import Probe, Sampling
from probes.result import ProbeResult, SweepId, SweepResult
from probes.suites import builtin
from probes.sweep import run_sweep
from probes.target import Target
from probes.targets.openai import OpenAITarget, Options
from probes.window import Rules
from tests.benchmarks.sweep_server import MAX_TOKENS, NAME

__all__ = ["CONCURRENCY", "Swept", "idle", "prompts", "suite", "sweep", "sweep_on", "write_prompts"]

CONCURRENCY = 32
_DEADLINE_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep took.

    Attributes:
        n: Probes that were answered and judged.
        seconds: From the first request to the last verdict.
        cpu_seconds: Of this process meanwhile.
        completion_tokens: As the server counts them.
    """

    n: int
    seconds: float
    cpu_seconds: float
    completion_tokens: int


def suite() -> Suite:
    """Return the suite that is asked, by us and by the peers."""
    return builtin("harm_probe")


def prompts(n: int) -> list[str]:
    """Return the prompts that everybody is given: the suite's first ``n``, from the top again where it has fewer."""
    behaviors = suite().behaviors
    return [behaviors[i % len(behaviors)].prompt for i in range(n)]


def write_prompts(path: Path, n: int) -> Path:
    """Write the prompts as JSONL with the column ``prompt``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts(n)))
    return path


async def sweep(endpoint: str, *, n: int, name: str) -> Swept:
    """Ask and judge ``n`` probes as fast as they go, with the priority that users have.

    Args:
        name: Of the sweep; another one gives every probe another seed.

    Raises:
        SystemExit: A probe is missing: such a run tells nothing.
    """
    target = _target(endpoint, connections=CONCURRENCY, priority=0)
    probes = _probes(n, name)
    began, cpu = time.perf_counter(), time.process_time()
    done = await _run(target, probes, name, concurrency=CONCURRENCY)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    await target.aclose()
    if done.missing:
        raise SystemExit(f"{done.missing} of {n} probes are missing: {sorted({r.missing for r in done.results})}")
    tokens = sum(r.completion.completion_tokens for r in done.results if r.completion)
    return Swept(n=n, seconds=seconds, cpu_seconds=cpu, completion_tokens=tokens)


async def sweep_on(
    endpoint: str, count: Callable[[], None], *, concurrency: int, priority: int, rules: Rules | None = None
) -> None:
    """Sweep until cancelled; ``count`` is called with each verdict.

    Args:
        rules: Of the load contract; ``None`` keeps none.
    """
    plain = _target(endpoint, connections=concurrency, priority=priority)
    target: Target = PacedTarget(plain, Pace(rules)) if rules else plain

    def on_result(result: ProbeResult) -> None:
        if result.scored:
            count()

    try:
        for i in itertools.count():
            name = f"on-{i}"
            await _run(
                target, _probes(len(suite().behaviors), name), name, concurrency=concurrency, on_result=on_result
            )
    finally:
        await target.aclose()


async def idle(endpoint: str) -> None:
    """Wait until the server answers nobody, so that nothing is left of what came before.

    Raises:
        SystemExit: It says nothing of its load.
    """
    target = _target(endpoint, connections=1, priority=0)
    try:
        while True:
            load = await target.load()
            if load is None:
                raise SystemExit("the server has no /metrics of vLLM's")
            if not load.running and not load.waiting:
                return
            await asyncio.sleep(0.2)
    finally:
        await target.aclose()


def _target(endpoint: str, *, connections: int, priority: int) -> OpenAITarget:
    return OpenAITarget(
        Options(
            name="benchmark", endpoint=endpoint, model=NAME, connections=connections, priority=priority,
            timeout_seconds=_DEADLINE_SECONDS,
        )
    )  # fmt: skip


def _probes(n: int, name: str) -> tuple[Probe, ...]:
    asked = suite()
    behaviors = [asked.behaviors[i % len(asked.behaviors)] for i in range(n)]
    sampling = Sampling(max_tokens=MAX_TOKENS)
    return plan_sweep(
        asked, behaviors, sweep=SweepId(name), attacks=[WeightedAttack(attack=DirectAttack())], sampling=sampling,
        key="benchmark",
    )  # fmt: skip


async def _run(
    target: Target,
    probes: tuple[Probe, ...],
    name: str,
    *,
    concurrency: int,
    on_result: Callable[[ProbeResult], None] | None = None,
) -> SweepResult:
    return await run_sweep(
        target, RefusalPhraseJudge(), suite(), probes, sweep=SweepId(name), clock=lambda: datetime.now(UTC),
        concurrency=concurrency, deadline_seconds=_DEADLINE_SECONDS, on_result=on_result,
    )  # fmt: skip


def main() -> None:
    """Sweep once, as a command of its own, and print what it took as one JSON object."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--prompts", type=int, default=200)
    given = parser.parse_args()
    print(json.dumps(asdict(asyncio.run(sweep(given.endpoint, n=given.prompts, name="command")))))


if __name__ == "__main__":
    main()
