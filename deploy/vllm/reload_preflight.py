"""What forbids that one checkpoint's weights take another's place in a running server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.checkpoint import Release, ReleaseKind, require_same_architecture
from deploy.errors import StageError
from deploy.vllm.client import Described
from deploy.weights import read_config, tensors_of

__all__ = ["require_reloadable"]

_WRITERS = {"_name_or_path", "transformers_version", "_attn_implementation_autoset"}
"""Keys that say who wrote a file, not what the model is."""
_FIXED = {
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja", "chat_template.json",
}  # fmt: skip
"""Files that a server reads once, when it starts."""
_HEAD = "lm_head.weight"
_AS_PROCESS = "serve it with deployer vllm-process, which starts a server for each release"


def require_reloadable(served: Release, wanted: Release, server: Described) -> None:
    """Refuse a release whose weights can't take the place of those that are served.

    A reload changes weights and nothing else: shapes, settings of the architecture, tokenizer, chat template and
    default sampling stay those that the server was started with.

    Raises:
        CheckpointError: Another architecture or shape.
        StageError: Anything else; the message says what, and what to do instead.
    """
    for release in (served, wanted):
        if release.manifest.kind is not ReleaseKind.MERGED:
            raise StageError(f"release {release.id} is an adapter; serve it with deployer vllm-adapter")
    if server.quantization:
        raise StageError(
            f"the server quantizes its weights ({server.quantization}), and nothing proves such a reload; {_AS_PROCESS}"
        )
    if server.speculative:
        raise StageError(f"the server decodes with a draft model, which a reload would leave as it is; {_AS_PROCESS}")
    require_same_architecture(served.path, wanted.path)
    _same_settings(served, wanted)
    _same_tensors(served, wanted)
    _same_files(served, wanted)


def _same_settings(served: Release, wanted: Release) -> None:
    first, second = (_plain(read_config(r.path)) for r in (served, wanted))
    if different := [k for k in sorted(first.keys() | second.keys()) if first.get(k) != second.get(k)]:
        key = different[0]
        raise StageError(
            f"release {wanted.id}: config.json says {key}: {second.get(key)!r}, {served.id} is served with "
            f"{first.get(key)!r}, and a reload changes weights alone; {_AS_PROCESS}"
        )


def _same_tensors(served: Release, wanted: Release) -> None:
    first, second = (tensors_of(r.path) for r in (served, wanted))
    if different := sorted(first.keys() ^ second.keys()):
        raise StageError(
            f"release {wanted.id}: tensor {different[0]} is in one of it and {served.id} only, so a reload would leave "
            f"something as it was; {_AS_PROCESS}"
        )
    if different := [n for n in sorted(first) if first[n].dtype != second[n].dtype]:
        name = different[0]
        raise StageError(
            f"release {wanted.id}: tensor {name} is {second[name].dtype}, in {served.id} it is {first[name].dtype}; "
            f"save it in the same number format, or {_AS_PROCESS}"
        )
    if _HEAD in first and read_config(served.path).get("tie_word_embeddings"):
        raise StageError(  # vLLM ties the two again where they are equal at its start, and a reload writes both
            f"release {wanted.id}: config.json ties the output head to the embedding, and there is a {_HEAD} beside "
            f"it; save it without, or {_AS_PROCESS}"
        )


def _same_files(served: Release, wanted: Release) -> None:
    for name in sorted(_FIXED):
        first, second = (_content(r.path / name) for r in (served, wanted))
        if first != second:
            raise StageError(
                f"release {wanted.id}: {name} is not that of {served.id}, and a reload changes weights alone; "
                f"{_AS_PROCESS}"
            )


def _content(file: Path) -> object:
    """A JSON file's value without its writer, any other file's bytes, ``None`` where there is none."""
    if not file.is_file():
        return None
    data = file.read_bytes()
    if file.suffix != ".json":
        return data
    try:
        said = json.loads(data)
    except ValueError:
        return data
    return _plain(said) if isinstance(said, dict) else said


def _plain(said: Mapping[str, object]) -> dict[str, object]:
    return {k: v for k, v in said.items() if k not in _WRITERS}
