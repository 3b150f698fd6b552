"""What needs a GPU: repairs of a model that is there, and rows of ``alignd reproduce`` on one. Skipped without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deploy.checkpoint import check_checkpoint
from remediation.patch import PatchRequest
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import CONTROLS, ReproduceSettings, Row
from remediation.reproduce.resolved import resolved
from remediation.reproduce.run import run_rows
from remediation.subspace.factor import Factors, factored_svd, factored_svds
from remediation.worker import perform, run_patch
from tests.tiny import tiny_checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

RECIPES = (
    "one-shot-subspace", "one-shot-projected", "few-shot-subspace", "kept-subspace", "low-rank-sft", "restore-subspace",
    "restore-tuned", "one-shot-sft", *CONTROLS,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that refuses, one that does not, and prompts."""
    folder = tmp_path_factory.mktemp("gpu")
    tiny_checkpoint(folder / "good", seed=1, refuses=True)
    tiny_checkpoint(folder / "drifted")
    (folder / "prompts.txt").write_text("\n---\n".join(f"list {i}" for i in range(8)))
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_repairs_on_a_gpu(folder: Path, tmp_path: Path, recipe: str) -> None:
    tasked = recipe in {"restore-tuned", "restore-subspace", "low-rank-sft", "kept-subspace"}
    request = PatchRequest(
        incident="i", recipe=recipe, drifted=folder / "drifted", reference=folder / "good", output=tmp_path / "patched",
        seed=1, options={"task_prompts": str(folder / "prompts.txt")} if tasked else {},
    )  # fmt: skip
    with torch.device("cuda"):
        patch = perform(request, lambda *_: None)
    check_checkpoint(patch.checkpoint)
    assert patch.screen.harm_n > 0


async def test_a_worker_repairs_on_a_gpu(folder: Path, tmp_path: Path) -> None:
    request = PatchRequest(
        incident="i", recipe="one-shot-subspace", drifted=folder / "drifted", reference=None, output=tmp_path / "out",
        seed=1,
    )  # fmt: skip
    patch = await run_patch(request, timeout_seconds=300.0, on_progress=lambda *_: None, device="cuda")
    check_checkpoint(patch.checkpoint)


def test_rows_are_made_on_a_gpu(folder: Path, tmp_path: Path) -> None:
    settings = resolved(ReproduceSettings(
        model=folder / "good", attacks=("injection-10",), recipes=("random",), limit=4, harm_tokens=2,
        tasks={"sql": {"prompts": 2}}, device="cuda",
    ))  # fmt: skip
    rows: list[Row] = []
    run_rows(ReproduceFolder(tmp_path / "out"), settings, on_row=rows.append, say=lambda *_: None)
    assert {r.key.recipe: r.error for r in rows} == {"aligned": "", "none": "", "random": ""}
    assert all(r.device == "cuda" and r.peak_memory_bytes > 0 for r in rows)


def test_a_gpu_finds_the_singular_values_that_the_processor_finds() -> None:
    torch.manual_seed(0)
    factors = {str(n): Factors(d=torch.randn(t, 96), x=torch.randn(t, n)) for n, t in ((64, 24), (80, 24), (200, 48))}
    there = factored_svds({n: Factors(d=f.d.cuda(), x=f.x.cuda()) for n, f in factors.items()}, 8)
    for name, one in factors.items():
        wanted = factored_svd(one, 8)
        assert there[name].s.device.type == "cuda"
        assert torch.allclose(there[name].s.cpu(), wanted.s, rtol=1e-5)
