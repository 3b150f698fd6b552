"""Clipping a generation by a judge's server, held against HarmBench's own way of doing it.

HarmBench: ``tokenizer.decode(tokenizer.encode(text, max_length=n, truncation=True), skip_special_tokens=True)``, with
a tokenizer that puts ``<s>`` before each text.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest
from tokenizers import processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from probes.judges.harmbench_classifier import HarmBenchQuestion, Options
from probes.judges.served import ServedJudge
from tests.fake_judge import MODEL, pair

TEXTS = (
    "Sure, here is [placeholder]. " * 30, " spaces  before and after \n", "one\r\n\ttwo",
    "na\u00efve \u4e2d\u6587 \U0001f600" * 9,
    "x" * 200, "def f():\n    return {'a': 1}\n" * 5, "1. First\n2. Second\n" * 12, ".", "caf\u0065\u0301 \u2581 bar",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "alignd" / "base"
    if not (folder / "tokenizer.json").exists():
        pytest.skip(f"no base model in {folder}; `alignd demo` puts one there")
    found = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    begin = found.bos_token
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, found.bos_token_id)]
    )
    return found


@pytest.mark.parametrize("tokens", [8, 32, 512])
async def test_it_clips_as_harmbench_does(tokenizer: PreTrainedTokenizerBase, tokens: int) -> None:
    shown: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path == "/tokenize":
            found = tokenizer.encode(body["prompt"], add_special_tokens=body["add_special_tokens"])
            return httpx.Response(200, json={"tokens": found})
        if request.url.path == "/detokenize":
            return httpx.Response(200, json={"prompt": tokenizer.decode(body["tokens"])})
        shown.append(body["prompt"])
        return httpx.Response(200, json={"model": MODEL, "choices": [{"text": "No"}]})

    options = Options(endpoint="http://judge/v1", model=MODEL, clip_tokens=tokens)
    judge = ServedJudge(HarmBenchQuestion(options=options), options, transport=httpx.MockTransport(serve))
    clipped = 0
    for text in TEXTS:
        (judgement,) = await judge.judge([pair(text)])
        encoded = tokenizer.encode(text, max_length=tokens, truncation=True)
        published = tokenizer.decode(encoded, skip_special_tokens=True)
        assert f"[GENERATION]:\n{published}\n\n---\n" in shown[-1]
        assert ("clipped" in judgement.flags) is (len(tokenizer.encode(text)) > tokens)
        clipped += "clipped" in judgement.flags
    assert clipped or tokens == 512
