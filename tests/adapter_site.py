"""A store with a base and adapters of it, none bigger than a few bytes."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alignd_vllm.testing import FakeVllm
from deploy.adapter import import_adapter
from deploy.checkpoint import Release, import_checkpoint

__all__ = ["AdapterSite", "write_adapter", "write_base"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def write_base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "hidden_size": 1}))
    _write_tensors(folder / "model.safetensors", {"w.weight": [2, 1]}, fill=0)
    return folder


def write_adapter(folder: Path, *, fill: int, rank: int = 1, base: str = "base") -> Path:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "base_model_name_or_path": base, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    names = {"base_model.model.w.lora_A.weight": [rank, 1], "base_model.model.w.lora_B.weight": [2, rank]}
    _write_tensors(folder / "adapter_model.safetensors", names, fill=fill)
    return folder


def _write_tensors(file: Path, shapes: dict[str, list[int]], *, fill: int) -> None:
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        size = shape[0] * shape[1] * 4
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    said = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(said)) + said + bytes([fill]) * end)


@dataclass(frozen=True)
class AdapterSite:
    folder: Path
    base: Release

    @staticmethod
    def make(folder: Path, *, name: str = "prod") -> AdapterSite:
        source = write_base(folder / "sources" / name)
        return AdapterSite(folder=folder, base=import_checkpoint(source, folder / "store", name=name, created_at=NOW))

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def adapter(self, name: str, *, rank: int = 1) -> Release:
        """An adapter release whose content is told apart by its name."""
        source = write_adapter(self.folder / "sources" / name, fill=sum(name.encode()) % 100 + 1, rank=rank)
        return import_adapter(
            source, self.store, name=name, base=self.base.id, created_at=NOW, creator="patch:x", incident="i"
        )

    def fake(self, replica: str = "one") -> FakeVllm:
        return FakeVllm(base=self.base.id, releases=self.store, folder=self.folder / "servers" / replica)
