"""A living subspace in plain values, and the process that updates it: nothing here imports torch.

A sketch is a folder with ``summary.json`` and the tensors that it names. The summary is written last and by rename:
what it does not name does not count.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from deploy.parent import die_with_parent
from remediation.errors import SketchError, WorkerDied

__all__ = [
    "CONTROLS",
    "FORMAT",
    "SUMMARY",
    "CategoryCoverage",
    "Measured",
    "ModelIdentity",
    "ModuleCoverage",
    "Shares",
    "Side",
    "SubspaceDrift",
    "SubspaceSummary",
    "SubspaceUpdate",
    "UpdateRequest",
    "read_summary",
    "run_update",
]

FORMAT = 2
"""A sketch of format 1 may hold requests that are measured now: it is shown, and not updated."""
SUMMARY = "summary.json"
CONTROLS = ("harmless, refused", "harmless, answered", "random tokens", "random subspace")
"""What the energy of refused harmful requests is held against; the last is exact: what k of d directions take."""

Progress = Callable[[str, float], None]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shares(_Kept):
    """Energy of gradients inside a subspace, as shares of all of it."""

    left: float
    """|U^T G|^2 / |G|^2."""
    right: float
    """|G V|^2 / |G|^2."""
    both: float
    """|U^T G V|^2 / |G|^2: what a patch of these spaces can follow."""


class Measured(_Kept):
    """Energy of requests that are in no sketch, with that of their controls, one for each request."""

    requests: Shares
    controls: dict[str, Shares]

    @field_validator("controls")
    @classmethod
    def _has_all(cls, controls: dict[str, Shares]) -> dict[str, Shares]:
        if set(controls) != set(CONTROLS):
            raise ValueError(f"there are to be {', '.join(CONTROLS)}")
        return {name: controls[name] for name in CONTROLS}


class CategoryCoverage(_Kept):
    """One category at one update."""

    sketched: int = Field(ge=0)
    """Requests that went into the sketch."""
    held: int = Field(ge=1)
    """Other requests, which are measured and never sketched."""
    loss: float
    """Mean cross-entropy of the refusals' tokens on the held requests, nats."""
    inside: Measured
    """Inside the sketch as it is after the update."""
    left_out: Measured | None
    """Inside a sketch of this update's other categories: as if this one were new. Nothing where there is one only."""
    before: Measured | None
    """Inside the sketch as it was before the update; of a category that it did not have, its coverage."""


class ModuleCoverage(_Kept):
    """One matrix at one update, over all categories."""

    module: str
    share: float
    """Of the gradients' whole energy."""
    inside: Measured
    lost_left: float
    """Guarantee: the share of the sketched energy that any one direction can have lost at most."""
    lost_right: float


class Side(_Kept):
    """Overlaps phi = |U1^T U2|^2 / k of one side, means over matrices weighted by their energy."""

    fresh: float
    """The sketch before the update against this update's requests alone: drift, where it is below ``resampled``."""
    fresh_angle: float
    """The mean principal angle of these two, degrees."""
    state: float
    """The sketch before the update against the sketch after it."""
    resampled: float
    """This update's requests against its held ones: other requests, other words of refusal, the same model."""
    chance: float
    """Two random subspaces."""


class SubspaceDrift(_Kept):
    """How far the subspace moved since the update before."""

    left: Side
    right: Side


class SubspaceUpdate(_Kept):
    """One entry of the history."""

    at: datetime
    release: str
    """SHA-256 of the checkpoint's content."""
    model: str
    """The folder that was read."""
    suite: str
    categories: dict[str, CategoryCoverage]
    overall: Measured
    """Over all held requests."""
    drift: SubspaceDrift | None
    seconds: float


class ModelIdentity(_Kept):
    """What all releases of one model share."""

    architecture: str
    modules: int
    shapes_sha256: str
    """Of the linear modules' names and shapes."""
    vocabulary_sha256: str


class SubspaceSummary(_Kept):
    """All that is known of a sketch, but its tensors."""

    format: int
    identity: ModelIdentity
    rank: int
    rows: int
    """Of each side's sketch, twice the rank."""
    tensors: str
    """Name of the file beside the summary."""
    tensors_sha256: str
    sketched: dict[str, int]
    """Requests of each category that the sketch holds, over all updates."""
    modules: tuple[ModuleCoverage, ...] = Field(min_length=1)
    """Of the last update."""
    updates: tuple[SubspaceUpdate, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """What to sketch.

    Attributes:
        model: Checkpoint folder.
        sketch: Folder of the sketch; made where it is not there.
        suite: ``dsafe``, or the path of a file of harmful requests.
        categories: Of the suite; none are all of them.
        per_category: Requests of each that are sketched; half as many others are measured.
        rank: Directions of each side; that of the sketch where nothing is given, else 16.
        keep: What an earlier gradient weighs after this update, in energy.
        at: Now.
        seed: Of the random control.
    """

    model: Path
    sketch: Path
    at: datetime
    suite: str = "dsafe"
    categories: tuple[str, ...] = ()
    per_category: int = 4
    rank: int | None = None
    keep: float = 1.0
    seed: int = 0

    @classmethod
    def from_json(cls, text: str) -> UpdateRequest:
        """Rebuild a request."""
        data = json.loads(text)
        return cls(
            **{
                **data, "model": Path(data["model"]), "sketch": Path(data["sketch"]),
                "at": datetime.fromisoformat(data["at"]), "categories": tuple(data["categories"]),
            }
        )  # fmt: skip

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self), default=lambda v: v.isoformat() if isinstance(v, datetime) else str(v))


def read_summary(folder: Path) -> SubspaceSummary:
    """Read what is known of a sketch.

    Raises:
        SketchError: There is none, it is damaged, or a newer version wrote it.
    """
    file = folder / SUMMARY
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        version = int(data["format"])
    except FileNotFoundError:
        raise SketchError(f"{folder}: no sketch yet; make one with `alignd subspace update MODEL_FOLDER`") from None
    except OSError as error:
        raise SketchError(f"{file} can't be read ({error.strerror}); give another --sketch") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(file) from error
    if version > FORMAT:
        raise SketchError(
            f"{file}: format {version} is of a newer alignd, this one reads up to {FORMAT}; upgrade, or give another "
            "--sketch"
        )
    try:
        return SubspaceSummary.model_validate(data)
    except ValidationError as error:
        raise _damaged(file) from error


def run_update(request: UpdateRequest, on_progress: Progress) -> SubspaceSummary:
    """Update a sketch in a child process, and read what came of it.

    Raises:
        SketchError: It can't be updated as asked; the sketch is as it was.
        WorkerDied: The process ended without a result; the sketch is as it was.
    """
    with tempfile.TemporaryDirectory(prefix="alignd-subspace-") as scratch, tempfile.TemporaryFile() as errors:
        result = Path(scratch) / "result.json"
        with subprocess.Popen(
            [sys.executable, "-m", "remediation.subspace.living", str(result)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - the command line has one thread
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        ) as process:  # fmt: skip
            try:
                _ask(process.stdin, request)
                _follow(process.stdout, on_progress)
            except BaseException:
                process.terminate()
                raise
            code = process.wait()
        if not result.exists():
            errors.seek(0)
            tail = "\n".join(errors.read().decode(errors="replace").splitlines()[-8:])
            if code == -signal.SIGKILL:
                tail = "it was killed (SIGKILL), as Linux does where memory runs out; give fewer categories"
            raise WorkerDied(f"the update of {request.sketch} ended with {code} and no result:\n{tail}")
        said = json.loads(result.read_text(encoding="utf-8"))
    if "failed" in said:
        raise SketchError(said["failed"])
    return read_summary(request.sketch)


def _ask(pipe: IO[str] | None, request: UpdateRequest) -> None:
    """Hand the request over; a process that ended already has its end told by its code."""
    if pipe is not None:
        with suppress(BrokenPipeError), pipe:
            pipe.write(request.to_json())


def _follow(lines: IO[str] | None, on_progress: Progress) -> None:
    for line in lines or ():
        try:
            said = json.loads(line)
            on_progress(str(said["stage"]), float(said["share"]))
        except (ValueError, KeyError, TypeError):
            continue


def _damaged(file: Path) -> SketchError:
    return SketchError(f"{file} is damaged; remove {file.parent} and make the sketch anew, or give another --sketch")
