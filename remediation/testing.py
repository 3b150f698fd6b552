"""Recipe with scriptable outcomes that needs no model, and the checks that every recipe must pass.

For the tests of this project and of plugins: a test makes its adapter and calls the check of the port.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.adapter import check_whole
from deploy.checkpoint import MANIFEST, check_checkpoint, require_same_architecture
from deploy.durable import new_folder
from deploy.errors import CheckpointError
from deploy.weights import ADAPTER_CONFIG
from remediation.errors import PatchFailed, RemediationError
from remediation.form_testing import check_adapter_patch, check_one_patch, write_empty_adapter
from remediation.patch import Form, Patch, Patcher, PatchProgress, PatchRequest, Screen

__all__ = ["CLEAN_SCREEN", "FakePatcher", "check_patcher", "contents"]

CLEAN_SCREEN = Screen(harm_n=10, harm_complied=0, benign_n=10, benign_refused=0, benign_refused_reference=0)


def _note(folder: Path, request: PatchRequest) -> None:
    """Write recipe and seed into the configuration, so that no two of them make the same checkpoint."""
    file = folder / ("config.json" if request.form is Form.MERGED else ADAPTER_CONFIG)
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "patched_by": [request.recipe, request.seed]}))


@dataclass(slots=True, kw_only=True)
class FakePatcher:
    """Writes a copy of the drifted checkpoint, or an adapter that changes nothing, then changed as scripted.

    Attributes:
        change: Changes the folder before it gets its name; of itself it notes recipe and seed in the configuration.
        faults: What happens to the next requests, in order: an error is raised when half the work is done, ``None``
            and the end of the faults let a request through.
        screen: What the recipe says of its result.
        asked: The requests so far, failed ones too.
    """

    name: str = "fake"
    change: Callable[[Path, PatchRequest], None] = _note
    faults: Iterable[RemediationError | None] = ()
    screen: Screen = CLEAN_SCREEN
    asked: list[PatchRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the script."""
        self.faults = iter(self.faults)

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make what is scripted."""
        self.asked.append(request)
        progress("copy", 0.0)
        drifted = check_whole(request.drifted)
        with new_folder(request.output) as folder:
            if request.form is Form.ADAPTER:
                write_empty_adapter(folder, drifted)
            else:
                for file in drifted.iterdir():
                    if file.name != MANIFEST:
                        shutil.copyfile(file, folder / file.name)
            progress("change", 0.5)
            fault = next(iter(self.faults), None)
            if fault is not None:
                raise fault
            self.change(folder, request)
        progress("done", 1.0)
        return Patch(
            recipe=request.recipe, checkpoint=request.output, rank=int(request.form is Form.ADAPTER), seconds=0.0,
            screen=self.screen, drift_removed=0.0 if request.reference else None, spectrum=(), figures={},
            form=request.form,
        )  # fmt: skip


def check_patcher(patcher: Patcher, request: PatchRequest, *, hopeless: PatchRequest) -> None:
    """Check a recipe: what it writes is whole and the same for the same seed, and its inputs stay as they are.

    Both forms are asked for. A recipe without low rank refuses the form ``adapter``; one that has it writes one patch
    in both forms. Leaves ``request.output`` and, beside it, the output of a second run and of the other form.

    Args:
        patcher: The recipe.
        request: One that it can do; the output is not there yet.
        hopeless: One that it can't, say of damaged weights; the output is not there either.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    _require(bool(patcher.name), "a recipe has a name")
    patch = _made(patcher, request)
    _check_output(patch, request)
    _check_figures(patch, request)
    again = replace(request, output=request.output.with_name(f"{request.output.name}-again"))
    _made(patcher, again)
    different = _difference(contents(request.output), contents(again.output))
    _require(not different, f"the same seed makes other files: {different}")
    _check_other_form(patcher, patch, request)
    _check_failure(patcher, hopeless)


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder by its path in it."""
    found = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        with file.open("rb") as opened:
            found[file.relative_to(folder).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def _made(patcher: Patcher, request: PatchRequest) -> Patch:
    """Run the recipe and look at what it says meanwhile and at what is there afterwards."""
    inputs, beside, said = _inputs(request), _names(request.output.parent), list[float]()
    patch = patcher.patch(request, lambda _, share: said.append(share))
    _require(all(0 <= s <= 1 for s in said), f"progress {said} must lie in [0, 1]")
    _require(said == sorted(said), f"progress {said} goes back")
    _require(said[-1:] == [1.0], f"progress {said} must end at 1")
    _require_kept(inputs, request)
    left = _names(request.output.parent) - beside
    _require(left == {request.output.name}, f"beside the output it leaves {sorted(left - {request.output.name})}")
    return patch


def _check_output(patch: Patch, request: PatchRequest) -> None:
    _require(patch.recipe == request.recipe, f"patch of {request.recipe} names recipe {patch.recipe!r}")
    _require(patch.checkpoint == request.output, f"{request.output} was asked for, {patch.checkpoint} was made")
    _require(patch.form is request.form, f"form {request.form} was asked for, {patch.form} was made")
    try:
        if patch.form is Form.ADAPTER:
            check_adapter_patch(patch, request)
        else:
            check_checkpoint(patch.checkpoint)
            require_same_architecture(request.drifted, patch.checkpoint)
    except CheckpointError as error:
        raise AssertionError(f"the output can't take the drifted checkpoint's place: {error}") from error
    _require(MANIFEST not in _names(patch.checkpoint), "the drifted release's manifest does not describe the output")


def _check_other_form(patcher: Patcher, patch: Patch, request: PatchRequest) -> None:
    """Ask for the form that was not asked for yet, and hold the two against each other."""
    form = Form.MERGED if request.form is Form.ADAPTER else Form.ADAPTER
    other = replace(request, form=form, output=request.output.with_name(f"{request.output.name}-{form}"))
    beside = _names(request.output.parent)
    try:
        made = _made(patcher, other)
    except PatchFailed as error:
        _require(form is Form.ADAPTER, f"every recipe writes the form merged, this one says: {error}")
        _require(Form.MERGED in str(error), f"who is refused an adapter is told of the form merged, not: {error}")
        left = _names(request.output.parent) - beside
        _require(not left, f"a refusal leaves {sorted(left)} behind")
        return
    _check_output(made, other)
    adapter, merged = (made, patch) if form is Form.ADAPTER else (patch, made)
    check_one_patch(adapter.checkpoint, merged.checkpoint, request)


def _check_figures(patch: Patch, request: PatchRequest) -> None:
    look = patch.screen
    for part, whole in (
        (look.harm_complied, look.harm_n),
        (look.benign_refused, look.benign_n),
        (look.benign_refused_reference or 0, look.benign_n),
    ):
        _require(0 <= part <= whole, f"screen counts {part} of {whole}")
    _require(patch.rank >= 0, "rank is a count")
    _require(patch.seconds >= 0, "seconds are a duration")
    _require(
        (patch.drift_removed is None) == (request.reference is None), "drift_removed is there with a reference only"
    )
    _require(patch.drift_removed is None or patch.drift_removed <= 1, f"{patch.drift_removed} of the drift is removed")
    for name, value in patch.figures.items():
        _require(math.isfinite(value), f"figure {name} is {value}")
    for one in patch.spectrum:
        values = list(one.singular_values)
        _require(values == sorted(values, reverse=True), f"{one.module}: singular values must descend")
        _require(len(values) <= 32, f"{one.module}: {len(values)} singular values are more than 32")
        _require(0 <= one.cer <= 1 and 0 <= one.cer_random <= 1, f"{one.module}: an energy ratio must lie in [0, 1]")


def _check_failure(patcher: Patcher, request: PatchRequest) -> None:
    inputs, beside = _inputs(request), _names(request.output.parent)
    try:
        patcher.patch(request, lambda *_: None)
    except (PatchFailed, CheckpointError):
        pass
    else:
        raise AssertionError("a hopeless request is refused with PatchFailed, not done")
    left = _names(request.output.parent) - beside
    _require(not left, f"a failure leaves {sorted(left)} behind")
    _require_kept(inputs, request)


def _inputs(request: PatchRequest) -> dict[Path, dict[str, str]]:
    return {folder: contents(folder) for folder in (request.drifted, request.reference) if folder}


def _require_kept(before: dict[Path, dict[str, str]], request: PatchRequest) -> None:
    after = _inputs(request)
    for folder, files in before.items():
        different = _difference(files, after[folder])
        _require(not different, f"the recipe changed its input: {different} in {folder}")


def _difference(a: dict[str, str], b: dict[str, str]) -> list[str]:
    return sorted(f for f in a.keys() | b.keys() if a.get(f) != b.get(f))


def _names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
