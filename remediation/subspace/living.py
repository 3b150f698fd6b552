"""Update a living subspace: a sketch of safety gradients that goes on over time and categories.

``python -m remediation.subspace.living RESULT`` reads a request from standard input and runs one update; progress comes
as JSON lines on standard output. The result file is written last and by rename: without it the work counts as not done.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from deploy.checkpoint import check_checkpoint
from deploy.digest import folder_digest
from deploy.durable import write_whole
from deploy.errors import CheckpointError
from deploy.weights import parameters_of
from probes.behavior import Behavior, SuiteKind
from probes.errors import SuiteError
from probes.suites.sources import load_suite, names_a_file
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.sound import load_sound
from remediation.errors import PatchFailed, SketchError
from remediation.lessons.screen import pool
from remediation.living_subspace import (
    CONTROLS,
    CategoryCoverage,
    ModelIdentity,
    ModuleCoverage,
    Progress,
    SubspaceSummary,
    SubspaceUpdate,
    UpdateRequest,
)
from remediation.memory import out_of_memory
from remediation.subspace.coverage import (
    Bases,
    Measurement,
    Sketches,
    bases_of,
    drift_between,
    fresh_sketch,
    left_out_bases,
    measure,
    merged,
    module_coverage,
)
from remediation.subspace.draws import Draw, draws_of
from remediation.subspace.sketch_store import identity_of, locked, read_sketch, require_same_model, write_sketch

__all__ = ["update"]

_RANK, _RANK_MAX = 16, 64
_POOL = "dsafe"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """The sketch as it was; empty the first time."""

    sketches: Sketches | None
    rank: int
    sketched: Mapping[str, int]
    updates: tuple[SubspaceUpdate, ...]


def update(request: UpdateRequest, progress: Progress) -> SubspaceSummary:
    """Sketch a few refused requests of each category, measure others, and write the sketch anew.

    Raises:
        SketchError: The sketch is of another model or can't be read or written, there is nothing to sketch, or memory
            ran out; the sketch is as it was.
        CheckpointError: The model folder can't be used.
        PatchFailed: The model's weights are damaged, or its tokenizer has no chat template.
    """
    try:
        return _update(request, progress)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        need = f"{4 * parameters_of(request.model) / 2**30:.3g} GiB"
        raise SketchError(
            f"{request.model}: memory ran out; its weights in float32 need {need}, a sketch of each category and "
            "activations come on top: free memory, or give fewer categories or a lower --rank"
        ) from error


def _update(request: UpdateRequest, progress: Progress) -> SubspaceSummary:
    began = time.monotonic()
    architecture = check_checkpoint(request.model)
    behaviors = _behaviors(request)
    with locked(request.sketch):
        progress("load", 0.0)
        kept = read_sketch(request.sketch)
        chat = load_sound(request.model, "the checkpoint")
        identity = identity_of(chat, architecture)
        before = _before(request, kept, identity)
        draws = draws_of(
            chat, behaviors, [b.prompt for b in pool("dbenign")], per_category=request.per_category,
            turns=before.sketched, seed=request.seed,
        )  # fmt: skip
        state, modules, entry = _updated(chat, request, before, draws, progress)
        progress("write", 0.98)
        took = sum(len(d.sketched) for d in draws)
        entry = entry.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
        counts = {**before.sketched}
        for draw in draws:
            counts[draw.category] = counts.get(draw.category, 0) + len(draw.sketched)
        written = write_sketch(
            request.sketch, state, identity=identity, rank=before.rank, sketched=counts,
            modules=modules, updates=(*before.updates, entry),
        )  # fmt: skip
        progress(f"sketched {took} requests", 1.0)
        return written


def _updated(
    chat: ChatModel, request: UpdateRequest, before: _Before, draws: Sequence[Draw], progress: Progress
) -> tuple[Sketches, tuple[ModuleCoverage, ...], SubspaceUpdate]:
    rank = before.rank
    done = _counter(progress, draws, compares=before.sketches is not None)
    by_category = {d.category: fresh_sketch(chat, d.sketched, 2 * rank, done("sketch")) for d in draws}
    fresh = merged(list(by_category.values()))
    state = fresh
    if before.sketches is not None:
        state = merged([{n: s.faded(request.keep) for n, s in before.sketches.items()}, fresh])
    others = left_out_bases(by_category, rank)
    del by_category  # as large as all the rest together
    inside = bases_of(state, rank)
    was = bases_of(before.sketches, rank) if before.sketches is not None else None
    found: dict[str, dict[str, Measurement]] = {}
    for draw in draws:
        views = {"inside": inside, "left_out": others.get(draw.category), "before": was}
        given = {n: v for n, v in views.items() if v is not None}
        found[draw.category] = measure(chat, draw.held, given, done("measure"))
    whole = reduce(Measurement.combined, (f["inside"] for f in found.values()))
    modules = module_coverage(whole, inside, state)
    drift = None
    if was is not None:
        held = fresh_sketch(chat, (h.request for d in draws for h in d.held), 2 * rank, done("compare"))
        weights = {m.module: m.share for m in modules}
        drift = drift_between(was, inside, bases_of(fresh, rank), bases_of(held, rank), weights)
    entry = SubspaceUpdate(
        at=request.at, release=folder_digest(request.model), model=str(request.model), suite=request.suite,
        categories={
            d.category: _coverage(d, found[d.category], inside, others.get(d.category), was) for d in draws
        },
        overall=whole.shares(inside), drift=drift, seconds=0.0,
    )  # fmt: skip
    return state, modules, entry


def _coverage(
    draw: Draw, found: Mapping[str, Measurement], inside: Bases, others: Bases | None, was: Bases | None
) -> CategoryCoverage:
    return CategoryCoverage(
        sketched=len(draw.sketched),
        held=len(draw.held),
        loss=found["inside"].loss / found["inside"].examples,
        inside=found["inside"].shares(inside),
        left_out=found["left_out"].shares(others) if others is not None else None,
        before=found["before"].shares(was) if was is not None else None,
    )


def _behaviors(request: UpdateRequest) -> dict[str, list[Behavior]]:
    """Group the suite's requests by category.

    Raises:
        SketchError: The suite can't be used, or lacks a category.
    """
    if request.suite == _POOL:
        behaviors = pool(_POOL)
    elif names_a_file(request.suite):
        try:
            behaviors = load_suite(request.suite, SuiteKind.HARM).behaviors
        except SuiteError as error:
            raise SketchError(str(error)) from error
    else:
        raise SketchError(
            f"--suite {request.suite}: give {_POOL} or the path of a file; the other built-in suites only ever probe"
        )
    found: dict[str, list[Behavior]] = {}
    for behavior in behaviors:
        found.setdefault(behavior.category or "none", []).append(behavior)
    if unknown := [c for c in request.categories if c not in found]:
        raise SketchError(
            f"{request.suite} has no category {', '.join(map(repr, unknown))}; there are: {', '.join(sorted(found))}"
        )
    return {c: b for c, b in found.items() if c in request.categories or not request.categories}


def _before(
    request: UpdateRequest, kept: tuple[SubspaceSummary, Sketches] | None, identity: ModelIdentity
) -> _Before:
    if kept is None:
        rank = _RANK if request.rank is None else request.rank
        if not 1 <= rank <= _RANK_MAX:
            raise SketchError(f"--rank {rank}: give 1 to {_RANK_MAX}")
        return _Before(sketches=None, rank=rank, sketched={}, updates=())
    summary, sketches = kept
    require_same_model(summary, identity, model=request.model, folder=request.sketch)
    if request.rank not in {None, summary.rank}:
        raise SketchError(
            f"{request.sketch}: the sketch has rank {summary.rank}, not {request.rank}; leave --rank out, or give "
            "another --sketch"
        )
    return _Before(sketches=sketches, rank=summary.rank, sketched=summary.sketched, updates=summary.updates)


def _counter(
    progress: Progress, draws: Sequence[Draw], *, compares: bool
) -> Callable[[str], Callable[[], None]]:
    """Tell the share of gradients that are done: four for each held request, and one more where it is sketched too."""
    each = len(CONTROLS) + compares  # the request itself stands in for the control that needs no gradient
    whole, so_far = sum(len(d.sketched) + each * len(d.held) for d in draws), [0]

    def stage(name: str) -> Callable[[], None]:
        def done() -> None:
            so_far[0] += 1
            progress(name, 0.02 + 0.95 * min(1.0, so_far[0] / whole))

        return done

    return stage


def main() -> None:
    """Run one update in this process."""
    result = Path(sys.argv[1])
    request = UpdateRequest.from_json(sys.stdin.read())

    def say(stage: str, share: float) -> None:
        print(json.dumps({"stage": stage, "share": round(share, 3)}), flush=True)

    try:
        update(request, say)
        said = {"done": str(request.sketch)}
    except (SketchError, CheckpointError, PatchFailed) as error:
        said = {"failed": str(error)}
    write_whole(result, json.dumps(said))


if __name__ == "__main__":
    main()
