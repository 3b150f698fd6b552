"""The shipped fake passes the check of recipes, and the check catches what breaks one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from deploy.errors import CheckpointError
from remediation.errors import PatchFailed, WorkerDied
from remediation.patch import Form, LayerSpectrum, Patch, PatchProgress, PatchRequest
from remediation.testing import CLEAN_SCREEN, FakePatcher, check_patcher
from tests.unit.deploy.test_checkpoint import write_checkpoint

BAD_SPECTRUM = LayerSpectrum(module="m", singular_values=(1.0, 2.0), cer=1.0, cer_random=1.0)


@pytest.fixture
def asked(tmp_path: Path) -> PatchRequest:
    drifted, reference = (write_checkpoint(tmp_path / name, data=name.encode()) for name in ("drifted1", "the-good"))
    return PatchRequest(
        incident="i", recipe="fake", drifted=drifted, reference=reference, output=tmp_path / "work" / "out", seed=1
    )


def hopeless(request: PatchRequest) -> PatchRequest:
    return replace(request, drifted=request.drifted.with_name("none"), output=request.output.with_name("not-made"))


def test_the_fake_keeps_the_port(asked: PatchRequest) -> None:
    patcher = FakePatcher()
    check_patcher(patcher, asked, hopeless=hopeless(asked))
    assert [r.form for r in patcher.asked] == [Form.MERGED, Form.MERGED, Form.ADAPTER, Form.MERGED]
    failing = FakePatcher(faults=[None, None, PatchFailed("full rank; ask for the form merged"), PatchFailed("none")])
    other = replace(asked, reference=None, output=asked.output.with_name("other"))
    check_patcher(failing, other, hopeless=replace(other, output=other.output.with_name("third")))


def test_the_fake_keeps_the_port_as_an_adapter(asked: PatchRequest) -> None:
    adapter = replace(asked, form=Form.ADAPTER)
    check_patcher(FakePatcher(), adapter, hopeless=hopeless(adapter))
    config = json.loads((asked.output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "drifted1"


@dataclass
class Broken:
    """A recipe with something done before and after, and a patch that is changed."""

    before: Callable[[PatchRequest, PatchProgress], None] = lambda *_: None
    after: Callable[[PatchRequest, PatchProgress], None] = lambda *_: None
    changes: dict[str, object] = field(default_factory=dict)
    name: str = "broken"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        self.before(request, progress)
        patch = FakePatcher().patch(request, progress)
        self.after(request, progress)
        return replace(patch, **self.changes)  # type: ignore[arg-type]


def writes(path: Callable[[PatchRequest], Path], text: str = "x") -> Callable[[PatchRequest, PatchProgress], None]:
    def write(request: PatchRequest, _: PatchProgress) -> None:
        path(request).parent.mkdir(exist_ok=True)
        path(request).write_text(text)

    return write


Act = Callable[[PatchRequest, PatchProgress], None]


def only(form: Form, act: Act) -> Act:
    return lambda request, progress: act(request, progress) if request.form is form else None


def edits(file: str, old: bytes, new: bytes) -> Act:
    def edit(request: PatchRequest, _: PatchProgress) -> None:
        content = (request.output / file).read_bytes()
        assert old in content
        (request.output / file).write_bytes(content.replace(old, new))

    return edit


def refuses(request: PatchRequest, _: PatchProgress) -> None:
    raise PatchFailed("no")


CONFIG = json.dumps({"architectures": ["Other"], "hidden_size": 4})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Broken(name=""), "has a name"),
        (Broken(after=lambda _, p: p("x", 1.5)), "must lie in"),
        (Broken(after=lambda _, p: p("x", 0.9)), "goes back"),
        (Broken(after=writes(lambda r: r.drifted / "config.json")), r"changed its input: \['config.json'\]"),
        (Broken(after=writes(lambda r: r.drifted / "cache")), r"changed its input: \['cache'\]"),
        (Broken(after=writes(lambda r: (r.reference or r.drifted) / "config.json")), "changed its input.*the-good"),
        (Broken(after=writes(lambda r: r.output.with_name("cache"))), r"beside the output it leaves \['cache'\]"),
        (Broken(after=writes(lambda r: r.output / "config.json", CONFIG)), "another architecture"),
        (Broken(after=writes(lambda r: r.output / "model.safetensors")), "cut or damaged"),
        (Broken(after=writes(lambda r: r.output / "alignd-manifest.json")), "manifest"),
        (Broken(changes={"recipe": "x"}), "names recipe 'x'"),
        (Broken(changes={"checkpoint": Path("x")}), "was asked for, x was made"),
        (Broken(changes={"screen": replace(CLEAN_SCREEN, harm_complied=11)}), "counts 11 of 10"),
        (Broken(changes={"drift_removed": None}), "with a reference only"),
        (Broken(changes={"drift_removed": 1.1}), "1.1 of the drift"),
        (Broken(changes={"figures": {"loss": float("nan")}}), "figure loss is nan"),
        (Broken(changes={"spectrum": (BAD_SPECTRUM,)}), "must descend"),
        (Broken(after=lambda r, _: (r.output / str(id(r))).touch()), "the same seed makes other files"),
        (Broken(changes={"form": Form.ADAPTER}), "form merged was asked for, adapter was made"),
        (Broken(before=only(Form.ADAPTER, refuses)), "is told of the form merged, not: no"),
        (Broken(after=only(Form.ADAPTER, edits("adapter_config.json", b"drifted1", b"/srv/m"))), "names base '/srv/m'"),
        (Broken(after=only(Form.ADAPTER, edits("adapter_config.json", b'alpha": 1', b'alpha": 2'))), "scale is 2"),
        (Broken(after=only(Form.ADAPTER, edits("adapter_model.safetensors", b"w.lora", b"x.lora"))), "changes x by"),
        (Broken(after=only(Form.MERGED, edits("model.safetensors", b"drif", b"drig"))), "are two patches: w.weight"),
        (Broken(changes={"rank": 9}), "rank 9 is written at 16, not 1"),
    ],
)  # fmt: skip
def test_a_recipe_that_breaks_the_port_is_caught(asked: PatchRequest, broken: Broken, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_patcher(broken, asked, hopeless=hopeless(asked))


@dataclass
class Silent:
    """Says nothing meanwhile."""

    name: str = "silent"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        return FakePatcher().patch(request, lambda *_: None)


def test_a_recipe_that_says_nothing_is_caught(asked: PatchRequest) -> None:
    with pytest.raises(AssertionError, match="must end at 1"):
        check_patcher(Silent(), asked, hopeless=hopeless(asked))


@dataclass
class Careless:
    """Leaves something behind where it fails, or does not fail at all."""

    fails: bool
    name: str = "careless"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        if request.drifted.exists():
            return FakePatcher().patch(request, progress)
        if self.fails:
            request.output.mkdir()
            raise PatchFailed("half done")
        return FakePatcher().patch(replace(request, drifted=request.reference or request.drifted), progress)


@pytest.mark.parametrize(("fails", "message"), [(True, "leaves .*not-made"), (False, "refused with PatchFailed")])
def test_a_careless_failure_is_caught(asked: PatchRequest, fails: bool, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_patcher(Careless(fails=fails), asked, hopeless=hopeless(asked))


def note_seed(folder: Path, request: PatchRequest) -> None:
    (folder / "seed").write_text(str(request.seed))


def test_the_fake_follows_its_script(asked: PatchRequest) -> None:
    patcher = FakePatcher(faults=[WorkerDied("killed"), None, PatchFailed("no")], change=note_seed)
    with pytest.raises(WorkerDied, match="killed"):
        patcher.patch(asked, lambda *_: None)
    assert not list(asked.output.parent.iterdir())
    patcher.patch(asked, lambda *_: None)
    assert (asked.output / "seed").read_text() == "1"
    with pytest.raises(CheckpointError, match="no such folder"):
        patcher.patch(hopeless(asked), lambda *_: None)
    with pytest.raises(PatchFailed, match="no"):
        patcher.patch(asked, lambda *_: None)


def test_it_needs_no_torch() -> None:
    code = "import sys, remediation.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
