"""What a reload would leave as it was is refused before anything is touched."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.checkpoint import Release, ReleaseKind, import_checkpoint
from deploy.errors import CheckpointError, StageError
from deploy.vllm.client import Described
from deploy.vllm.reload_preflight import require_reloadable
from tests.unit.deploy.test_checkpoint import NOW

SERVER = Described(model="/m", dtype="float32", quantization="", speculative=False, server="vllm 0.32.0")


def release(
    folder: Path, name: str, *, tensors: tuple[str, ...] = ("w",), dtype: str = "F32", rows: int = 2,
    config: dict[str, Any] | None = None, files: dict[str, str] | None = None,
) -> Release:  # fmt: skip
    source = folder / "sources" / name
    source.mkdir(parents=True)
    said = {"architectures": ["LlamaForCausalLM"], "hidden_size": 4, "_name_or_path": name, **(config or {})}
    (source / "config.json").write_text(json.dumps(said))
    size = rows * {"F32": 4, "BF16": 2}[dtype]
    header = {
        n: {"dtype": dtype, "shape": [rows], "data_offsets": [i * size, (i + 1) * size]} for i, n in enumerate(tensors)
    }
    head = json.dumps(header).encode()
    (source / "model.safetensors").write_bytes(
        struct.pack("<Q", len(head)) + head + name.encode().ljust(size * len(tensors), b"\0")[: size * len(tensors)]
    )
    for file, text in (files or {}).items():
        (source / file).write_text(text)
    return import_checkpoint(source, folder / "store", name=name, created_at=NOW)


def test_other_weights_of_the_same_model_are_fine(tmp_path: Path) -> None:
    same = {"tokenizer_config.json": '{"a": 1}'}
    first = release(tmp_path, "a", files=same, config={"tie_word_embeddings": True, "transformers_version": "5.0"})
    second = release(tmp_path, "b", files={"tokenizer_config.json": '{"a":1}'}, config={"tie_word_embeddings": True})
    require_reloadable(first, second, SERVER)


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        ({"rows": 3}, CheckpointError, "shape"),
        ({"config": {"hidden_size": 8}}, CheckpointError, "another architecture"),
        ({"dtype": "BF16"}, StageError, r"tensor w is BF16, in a@.* it is F32"),
        ({"tensors": ("w", "lm_head.weight")}, StageError, "tensor lm_head.weight is in one"),
        ({"config": {"rope_theta": 1e6}}, StageError, "rope_theta: 1000000.0"),
        ({"files": {"tokenizer.json": "{}"}}, StageError, "tokenizer.json is not that of a@"),
        ({"files": {"chat_template.jinja": "x"}}, StageError, "chat_template.jinja"),
        ({"files": {"generation_config.json": '{"temperature": 2}'}}, StageError, "generation_config.json"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, other: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        require_reloadable(release(tmp_path, "a"), release(tmp_path, "b", **other), SERVER)


def test_a_tied_model_with_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    """vLLM ties the two again where they are equal when it starts; a reload would then write both in one place."""
    both = {"tensors": ("w", "lm_head.weight"), "config": {"tie_word_embeddings": True}}
    with pytest.raises(StageError, match="ties the output head"):
        require_reloadable(release(tmp_path, "a", **both), release(tmp_path, "b", **both), SERVER)


@pytest.mark.parametrize(
    ("server", "message"), [({"quantization": "fp8"}, "quantizes"), ({"speculative": True}, "draft model")]
)
def test_servers_whose_reload_nothing_proves(tmp_path: Path, server: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        require_reloadable(release(tmp_path, "a"), release(tmp_path, "b"), replace(SERVER, **server))


def test_an_adapter_is_served_otherwise(tmp_path: Path) -> None:
    first, second = release(tmp_path, "a"), release(tmp_path, "b")
    adapter = replace(second, manifest=replace(second.manifest, kind=ReleaseKind.ADAPTER))
    with pytest.raises(StageError, match="vllm-adapter"):
        require_reloadable(first, adapter, SERVER)
