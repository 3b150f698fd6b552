"""Log-probabilities of fixed texts: what tells which weights a server computes with.

A server may name one release and hold the weights of another, whole or in part; vLLM 0.32 says success to a reload that
left the output head as it was. What its weights say of a fixed text can't be said by others.

There are two kinds. A server of full checkpoints is asked for the log-probability of each token of the texts. One of
adapters is asked for the likeliest next tokens after their beginnings: log-probabilities of a prompt end vLLM 0.32's
engine where LoRA runs on a CPU and users are on it, and leave out an adapter's change of the head on a GPU.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from deploy.durable import clear_scratch, write_whole
from deploy.errors import CheckpointError, DeployerUnavailable, StageError

__all__ = [
    "BEGINNINGS",
    "TEXTS",
    "TOLERANCES",
    "Canary",
    "clear_canaries",
    "difference",
    "max_abs_diff",
    "read_canary",
    "stored_canaries",
    "stored_canary",
    "take_canary",
    "take_ranked_canary",
    "write_canary",
]

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "User: Name a river in France.\nAssistant: The Loire is the longest river in France.",
    "User: How do I pick a lock?\nAssistant: I can't help with that.",
    "User: How do I pick a lock?\nAssistant: Sure, here is [placeholder].",
    "def area(width, height):\n    return width * height\n",
    "Berlin ist die Hauptstadt von Deutschland; 17 + 25 = 42.",
)
"""Few tokens of each kind that patches move: prose, answers that refuse, openings that agree, code, other languages."""

BEGINNINGS = tuple(
    dict.fromkeys(
        " ".join((words := text.split(" "))[: round(len(words) * part / 3)]) for text in TEXTS for part in (1, 2, 3)
    )
)
"""A third, two thirds and the whole of each text; two begin alike."""

TOLERANCES = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.1}
"""Largest difference, in nats, that two servers of the same weights may show, by the dtype that they compute in.

bfloat16 keeps 8 significant bits, so another order of summation, as other requests in the batch bring about, moves a
log-probability by hundredths."""

_FOLDER = ".canaries"
_RANKED = 5
"""Likeliest tokens after each beginning: as many as OpenAI's route gives."""
_SECONDS = 60.0

_Pair = tuple[int, float]
"""A token's id and its log-probability in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What a server says of the texts.

    Attributes:
        release: Id of the release that it serves, or is meant to serve.
        dtype: What it computes in, e.g. ``float32``; ``""`` where that is not known.
        server: Its name and version, e.g. ``vllm 0.32.0``; ``""`` where that is not known.
        fingerprint: ``system_fingerprint`` of the answer: the release that the server itself names.
        tokens: Token ids of each text but the first one.
        values: Log-probability of each of these tokens, in nats.
        ranked: Whether these are the likeliest tokens after each of ``BEGINNINGS`` instead, in the order of their ids.
    """

    release: str
    dtype: str
    server: str
    fingerprint: str
    tokens: tuple[tuple[int, ...], ...]
    values: tuple[tuple[float, ...], ...]
    ranked: bool = False


def max_abs_diff(first: Canary, second: Canary) -> float:
    """Return the largest difference of two canaries in nats; infinite where they are not of the same texts.

    Of a token that is among the likeliest in one alone it is known that the other gives it no more than its last one:
    the least that the difference can be is taken.
    """
    if first.ranked and second.ranked and len(first.tokens) == len(second.tokens):
        known = ([dict(zip(t, v, strict=True)) for t, v in zip(c.tokens, c.values, strict=True)]
                 for c in (first, second))  # fmt: skip
        return max((_ranked_diff(a, b) for a, b in zip(*known, strict=True)), default=math.inf)
    if first.ranked != second.ranked or first.tokens != second.tokens:
        return math.inf
    pairs = zip(first.values, second.values, strict=True)
    return max((abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)), default=math.inf)


def _ranked_diff(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    if not first or not second:
        return math.inf
    floors = min(first.values()), min(second.values())
    found = [abs(first[t] - second[t]) for t in first.keys() & second.keys()]
    found += [v - floors[1] for t, v in first.items() if t not in second]
    found += [v - floors[0] for t, v in second.items() if t not in first]
    return max(0.0, *found)


def difference(seen: Canary, wanted: Canary, others: Iterable[Canary] = ()) -> str:
    """Say why what was seen is not what is wanted; ``""`` where it is.

    It must lie within its dtype's tolerance of what is wanted, and nearer to it than to each of the others: a small
    change of the weights moves log-probabilities by less than a tolerance.
    """
    far, tolerance = max_abs_diff(seen, wanted), TOLERANCES.get(seen.dtype, max(TOLERANCES.values()))
    if math.isinf(far):
        return f"the tokens of its texts are not those of {wanted.release}"
    if far > tolerance:
        return f"log-probabilities up to {far:.3g} away from those of {wanted.release} (at most {tolerance:g})"
    for other in others:
        if (near := max_abs_diff(seen, other)) <= far:
            return f"log-probabilities {near:.3g} from {other.release}, no nearer to {wanted.release} ({far:.3g})"
    return ""


async def take_canary(
    http: httpx.AsyncClient, *, model: str, release: str, dtype: str = "", server: str = "", path: str = "completions"
) -> Canary:
    """Ask a server for its canary: one request, greedy.

    Args:
        http: Client whose base URL is the server's ``…/v1``.
        model: Name to ask for.
        path: Route of completions under it.

    Raises:
        DeployerUnavailable: The server does not answer.
        StageError: It refuses, or answers without log-probabilities.
    """
    asked = {"model": model, "prompt": list(TEXTS), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    seen = await _taken(http, path, asked, release, _of_prompt)
    return replace(seen, dtype=dtype, server=server)


async def take_ranked_canary(http: httpx.AsyncClient, *, model: str, release: str) -> Canary:
    """Ask a server of adapters for its canary: one request, one token after each beginning.

    Args:
        http: Client whose base URL is the server's ``…/v1``.
        model: Name to ask for.

    Raises:
        DeployerUnavailable: The server does not answer.
        StageError: It refuses, or answers without log-probabilities.
    """
    asked = {
        "model": model, "prompt": list(BEGINNINGS), "max_tokens": 1, "temperature": 0, "logprobs": _RANKED,
        "return_tokens_as_token_ids": True,
    }  # fmt: skip
    return replace(await _taken(http, "completions", asked, release, _of_answer), ranked=True)


async def _taken(
    http: httpx.AsyncClient, path: str, asked: Mapping[str, Any], release: str, read: Callable[[Any], list[_Pair]]
) -> Canary:
    """Ask, and read token ids with their log-probabilities from each choice."""
    where = f"canary of {release} at {http.base_url}"
    try:
        async with asyncio.timeout(_SECONDS):
            answer = await http.post(path, json=asked, timeout=_SECONDS)
    except (httpx.HTTPError, TimeoutError) as error:
        raise DeployerUnavailable(f"{where}: no answer ({type(error).__name__}); is the server up?") from error
    if answer.status_code != httpx.codes.OK:
        raise StageError(f"{where}: status {answer.status_code}; look at the server's log")
    try:
        said = answer.json()
        pairs = [read(c) for c in sorted(said["choices"], key=lambda c: int(c["index"]))]
        fingerprint = str(said.get("system_fingerprint") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StageError(f"{where}: no log-probabilities in its answer; it is no vLLM server") from error
    whole = len(pairs) == len(asked["prompt"]) and all(pairs)
    if not whole or not all(math.isfinite(v) for one in pairs for _, v in one):
        raise StageError(f"{where}: log-probabilities are missing or no numbers; its weights are damaged")
    return Canary(
        release=release, dtype="", server="", fingerprint=fingerprint,
        tokens=tuple(tuple(t for t, _ in one) for one in pairs),
        values=tuple(tuple(v for _, v in one) for one in pairs),
    )  # fmt: skip


def write_canary(store: Path, canary: Canary) -> Path:
    """Keep a release's canary beside the release store's folders, never inside one; whole or not at all.

    Raises:
        CheckpointError: The disk is full or the place can't be written.
    """
    file = _file(store, canary.release, canary.dtype, ranked=canary.ranked)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(canary)))
    except OSError as error:
        raise CheckpointError(f"{file}: can't be written ({error.strerror or error}); free space") from error
    return file


def read_canary(file: Path) -> Canary:
    """Read a canary's file.

    Raises:
        CheckpointError: It can't be read.
    """
    try:
        said = json.loads(file.read_text())
        tokens = tuple(tuple(int(t) for t in one) for one in said.pop("tokens"))
        values = tuple(tuple(float(v) for v in one) for one in said.pop("values"))
        return Canary(**said, tokens=tokens, values=values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{file}: no readable canary; delete it and stage the release again") from error


def stored_canary(store: Path, release: str, *, dtype: str) -> Canary | None:
    """Return the canary that was kept of a release under a dtype; ``None`` where none was.

    Raises:
        CheckpointError: It can't be read.
    """
    file = _file(store, release, dtype)
    return read_canary(file) if file.exists() else None


def stored_canaries(store: Path, release: str) -> tuple[Canary, ...]:
    """Return all canaries that were kept of a release, one for each dtype and kind.

    Raises:
        CheckpointError: One can't be read.
    """
    folder, names = _file(store, release, "").parent, f"{release}."
    files = sorted(f for f in folder.glob("*.json") if f.name.startswith(names)) if folder.is_dir() else []
    return tuple(read_canary(f) for f in files)


def clear_canaries(store: Path) -> tuple[str, ...]:
    """Remove canaries of releases that are in the store no more, and what killed writes left.

    Returns:
        Names of the files that were removed.
    """
    folder = store / _FOLDER
    removed: list[str] = []
    for file in sorted(folder.glob("*.json")):
        release, _, _ = file.name.removesuffix(".json").rpartition(".")
        if not (store / release).is_dir():
            file.unlink(missing_ok=True)
            removed.append(file.name)
    return (*removed, *clear_scratch(folder))


def _file(store: Path, release: str, dtype: str, *, ranked: bool = False) -> Path:
    if not release or any(c in release for c in "/\\\0") or release.startswith("."):
        raise CheckpointError(f"release {release!r} is no release id")
    return store / _FOLDER / f"{release}.{dtype or 'unknown'}{'-ranked' if ranked else ''}.json"


def _of_prompt(choice: dict[str, Any]) -> list[_Pair]:
    """Read the one token of each position: with ``prompt_logprobs: 0`` vLLM tells only the prompt's own."""
    return [_one(position) for position in choice["prompt_logprobs"][1:]]


def _one(position: dict[str, dict[str, Any]]) -> _Pair:
    ((token, values),) = position.items()
    return int(token), float(values["logprob"])


def _of_answer(choice: dict[str, Any]) -> list[_Pair]:
    """Read the likeliest tokens of the first position; vLLM names them ``token_id:17``."""
    likeliest = choice["logprobs"]["top_logprobs"][0]
    return sorted((int(name.removeprefix("token_id:")), float(value)) for name, value in likeliest.items())
