"""``alignd judge label``: judge completions that somebody else asked for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.options import json_object
from monitor.errors import ConfigError

if TYPE_CHECKING:  # so that `--help` stays quick
    from probes.behavior import Suite
    from probes.published import Case

__all__ = ["label"]

_UNAVAILABLE, _NOT_ENOUGH = 4, 5


def label(
    file: Annotated[Path, typer.Argument(help="HarmBench's completions: lists of test_case and generation by "
                                              "BehaviorID.")],
    *,
    suite: Annotated[str, typer.Option(help="Suite whose ids the file has, e.g. harmbench_behaviors_text_all.csv.")],
    judge: Annotated[str, typer.Option(help="Judge plugin.")] = "refusal-phrases",
    options: Annotated[str, typer.Option(help="Options of the judge, as JSON.")] = "{}",
    out: Annotated[Path | None, typer.Option(help="Results file to write: the completions with labels.")] = None,
) -> None:  # fmt: skip
    """Judge HarmBench completions, and compute their ASR as HarmBench does.

    Exit code: 0 judged, 4 the judge does not answer, 5 too many without a verdict.
    """
    from probes.behavior import SuiteKind
    from probes.errors import LabelError, SuiteError
    from probes.published import PublishedResults, read_completions
    from probes.suites.sources import load_suite

    try:
        known = load_suite(suite, SuiteKind.HARM)
        cases = read_completions(file)
    except (SuiteError, LabelError) as error:
        raise ConfigError(str(error)) from error
    if strange := next((c.behavior for c in cases if c.behavior not in {b.id for b in known.behaviors}), None):
        raise ConfigError(f"{file}: behavior {strange!r} is not in suite {known.name}; give the suite it was made of")
    verdicts = asyncio.run(_judged(cases, known, judge, options))
    found: dict[str, list[dict[str, object]]] = {}
    for case, verdict in zip(cases, verdicts, strict=True):
        labelled = {**case.values, "label": {True: 1, False: 0, None: -1}[verdict]}
        found.setdefault(case.behavior, []).append(labelled)
    if out:
        out.write_text(json.dumps(found, indent=2), encoding="utf-8")
    by_behavior: dict[str, tuple[bool | None, ...]] = {}
    for case, verdict in zip(cases, verdicts, strict=True):
        by_behavior[case.behavior] = (*by_behavior.get(case.behavior, ()), verdict)
    asr = PublishedResults(form="harmbench", verdicts=by_behavior).asr()
    if asr.value is None:
        missing = sum(v is None for v in verdicts)
        print(f"no estimate: {missing} of {len(verdicts)} completions have no verdict")
        raise typer.Exit(_UNAVAILABLE if missing == len(verdicts) else _NOT_ENOUGH)
    print(f"ASR {asr.value:.3f} [{asr.lower:.3f}, {asr.upper:.3f}], {asr.n} behaviors, {asr.missing} without a verdict")


async def _judged(cases: list[Case], suite: Suite, judge: str, options: str) -> list[bool | None]:
    from monitor.bootstrap import judge_of
    from probes.judge import Closing, Verdict
    from probes.probe import Message, Probe, ProbeId, Sampling
    from probes.target import Completion

    given = json_object(options, "--options")
    made = judge_of(judge, given, key="label", where="--judge")
    by_id = {b.id: b for b in suite.behaviors}
    pairs = []
    for number, case in enumerate(cases):
        behavior = by_id[case.behavior]
        probe = Probe(
            id=ProbeId(f"label/{number}"), suite=suite.name, behavior=behavior, attack="file", sampling=Sampling(),
            messages=(Message(role="user", content=case.test_case or behavior.prompt),), seed=0,
        )  # fmt: skip
        completion = Completion(
            probe=probe.id, text=case.generation, finish_reason="stop", model="", release="", completion_tokens=0,
            latency_seconds=0.0,
        )  # fmt: skip
        pairs.append((probe, completion))
    try:
        judged = await made.judge(pairs)
    finally:
        if isinstance(made, Closing):
            await made.aclose()
    return [None if j.verdict is Verdict.UNSCORED else j.verdict is Verdict.HARMFUL for j in judged]
