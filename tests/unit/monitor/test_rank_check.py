"""Which recipes would make an adapter that servers have no room for."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from deploy.adapter import ADAPTER_WEIGHTS
from deploy.testing import FakeAdapterDeployer
from deploy.weights import ADAPTER_CONFIG
from monitor.rank_check import too_wide
from monitor.site import Recipe
from tests.fake_site import World


async def told(tmp_path: Path, recipe: str, *, most: int, drifted: Path | None = None, **options: str | float) -> str:
    world = World(folder=tmp_path / "world")
    world.deployer = FakeAdapterDeployer(on=world.good, widest=most)
    recipe_ = Recipe(plugin=recipe, options=options)
    return await too_wide(recipe_, drifted or world.drifted.path, world.site())


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """An adapter that is written at rank 16, for the room of a server, and uses 10."""
    folder, used, rank = tmp_path / "tuned", 10, 16
    folder.mkdir()
    said = {
        "base_model.model.w.lora_A.weight": {"dtype": "F32", "shape": [rank, 1], "data_offsets": [0, 4 * rank]},
        "base_model.model.w.lora_B.weight": {"dtype": "F32", "shape": [2, rank], "data_offsets": [4 * rank, 12 * rank]},
    }
    header = json.dumps(said).encode()
    values = [1.0] * used + [0.0] * (3 * rank - used)
    weights = struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values)
    (folder / ADAPTER_WEIGHTS).write_bytes(weights)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "base_model_name_or_path": "b"}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("recipe", "most", "words"),
    [("restore-tuned", 16, "rank 32, and its servers take up to 16; start vLLM with --max-lora-rank 32"),
     ("restore-tuned", 32, ""), ("one-shot-sft", 1, ""), ("no-such-recipe", 1, "")],
)  # fmt: skip
async def test_a_recipe_without_options_is_as_wide_as_its_default(
    tmp_path: Path, recipe: str, most: int, words: str
) -> None:
    assert await told(tmp_path, recipe, most=most) == words


@pytest.mark.parametrize(
    ("rank", "most", "words"),
    [(64, 16, "rank 64, and its servers take up to 16; start vLLM with --max-lora-rank 64"), (16, 16, ""),
     (20, 24, "rank 20, and its servers take up to 24; start vLLM with --max-lora-rank 32"), (64, 0, "")],
)  # fmt: skip
async def test_a_rank_is_held_against_the_room_that_it_takes(tmp_path: Path, rank: int, most: int, words: str) -> None:
    assert await told(tmp_path, "mend", most=most, rank=rank) == words


async def test_the_drifted_adapters_rank_is_added(tmp_path: Path, tuned: Path) -> None:
    said = await told(tmp_path, "mend", most=32, drifted=tuned, rank=32)
    assert said == (
        "rank 32 and the drifted adapter's 10, and its servers take up to 32; start vLLM with --max-lora-rank 64"
    )


@pytest.mark.parametrize(
    ("most", "options"), [(64, {"rank": 32}), (32, {"rank": 22}), (32, {"rank": 32, "modules": "x"})]
)
async def test_a_drifted_adapter_that_leaves_room_is_repaired(
    tmp_path: Path, tuned: Path, most: int, options: dict[str, int | str]
) -> None:
    assert await told(tmp_path, "mend", most=most, drifted=tuned, **options) == ""


async def test_what_vllm_has_no_room_for_is_said(tmp_path: Path) -> None:
    said = await told(tmp_path, "mend", most=512, rank=513)
    assert said == "rank 513, and its servers take up to 512; vLLM has room for 512 at most"


async def test_an_adapter_that_cannot_be_read_is_left_to_the_worker(tmp_path: Path, tuned: Path) -> None:
    (tuned / ADAPTER_WEIGHTS).unlink()
    assert await told(tmp_path, "mend", most=32, drifted=tuned, rank=32) == ""
