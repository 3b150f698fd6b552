"""Canaries tell weights apart, and say why two are not the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.canary import (
    BEGINNINGS,
    TEXTS,
    Canary,
    clear_canaries,
    difference,
    max_abs_diff,
    read_canary,
    stored_canaries,
    stored_canary,
    take_canary,
    take_ranked_canary,
    write_canary,
)
from deploy.errors import CheckpointError, DeployerUnavailable, StageError

CANARY = Canary(
    release="a@1", dtype="float32", server="vllm 0.32.0", fingerprint="a@1", tokens=((1, 2), (3,)),
    values=((-1.0, -2.0), (-3.0,)),
)  # fmt: skip


def moved(by: float, *, release: str = "a@1", dtype: str = "float32") -> Canary:
    return replace(CANARY, values=((-1.0, -2.0 + by), (-3.0,)), release=release, dtype=dtype)


def test_the_largest_difference_counts() -> None:
    assert max_abs_diff(CANARY, CANARY) == 0.0
    assert max_abs_diff(CANARY, moved(0.5)) == 0.5
    assert math.isinf(max_abs_diff(CANARY, replace(CANARY, tokens=((1, 2), (4,)))))


def ranked(*values: float, tokens: tuple[int, ...] = (1, 2, 3)) -> Canary:
    return replace(CANARY, tokens=(tokens, (7,)), values=(values, (-0.1,)), ranked=True)


def test_of_ranked_tokens_the_least_that_the_difference_can_be_counts() -> None:
    one = ranked(-1.0, -2.0, -3.0)
    assert max_abs_diff(one, one) == 0.0
    assert max_abs_diff(one, ranked(-1.0, -2.5, -3.0)) == 0.5
    swapped = ranked(-1.0, -2.0, -3.01, tokens=(1, 2, 9))
    assert max_abs_diff(one, swapped) == pytest.approx(0.01), "token 3 has at most -3.01 there, 9 at most -3 here"
    assert max_abs_diff(swapped, one) == max_abs_diff(one, swapped)
    assert max_abs_diff(one, ranked(-1.0, -2.0, -1.2, tokens=(1, 2, 9))) == pytest.approx(1.8)
    assert max_abs_diff(one, ranked(-4.0, -5.0, -6.0, tokens=(4, 5, 6))) == 5.0
    assert math.isinf(max_abs_diff(one, CANARY))
    assert math.isinf(max_abs_diff(replace(one, tokens=((),) * 2, values=((),) * 2), one))
    assert "tokens of its texts are not those" in difference(one, CANARY)


def test_a_difference_says_what_it_is() -> None:
    assert difference(moved(0.009), CANARY) == ""
    assert "up to 0.02 away from those of a@1 (at most 0.01)" in difference(moved(0.02), CANARY)
    assert difference(moved(0.02, dtype="bfloat16"), CANARY) == "", "bfloat16 is noisier"
    assert "tokens" in difference(replace(CANARY, tokens=((1, 2), (4,))), CANARY)


def test_within_the_tolerance_it_must_be_nearer_to_what_is_wanted() -> None:
    other = moved(0.006, release="b@2")
    assert difference(moved(0.001), CANARY, [other]) == ""
    assert "no nearer to a@1" in difference(moved(0.005), CANARY, [other])
    assert "no nearer to a@1" in difference(CANARY, CANARY, [replace(CANARY, release="b@2")]), "can't be told apart"


def test_it_is_kept_beside_the_releases(tmp_path: Path) -> None:
    file = write_canary(tmp_path, CANARY)
    assert file.parent.name == ".canaries"
    assert stored_canary(tmp_path, "a@1", dtype="float32") == CANARY
    assert stored_canary(tmp_path, "a@1", dtype="bfloat16") is None
    with pytest.raises(CheckpointError, match="no release id"):
        stored_canary(tmp_path, "../a@1", dtype="float32")
    file.write_text("{")
    with pytest.raises(CheckpointError, match="no readable canary"):
        read_canary(file)


def test_canaries_go_with_their_releases(tmp_path: Path) -> None:
    assert clear_canaries(tmp_path) == ()
    here, gone = "m.v1@0123456789ab", "m.v1@ba9876543210"
    (tmp_path / here).mkdir()
    for release in (here, gone):
        for dtype in ("float32", ""):
            write_canary(tmp_path, moved(0.0, release=release, dtype=dtype))
    (tmp_path / ".canaries" / ".x.1234.partial").write_text("half")
    assert clear_canaries(tmp_path) == (f"{gone}.float32.json", f"{gone}.unknown.json", ".x.1234.partial")
    assert len(stored_canaries(tmp_path, here)) == 2
    assert clear_canaries(tmp_path) == ()


async def ask(answer: httpx.Response | httpx.HTTPError) -> Canary:
    def respond(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["prompt"] == list(TEXTS)
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer

    transport = httpx.MockTransport(respond)
    async with httpx.AsyncClient(transport=transport, base_url="http://server/v1") as http:
        return await take_canary(http, model="m", release="a@1", dtype="float32")


async def ask_ranked(answer: httpx.Response) -> Canary:
    def respond(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        assert (asked["prompt"], asked["max_tokens"]) == (list(BEGINNINGS), 1)
        assert "prompt_logprobs" not in asked
        assert "echo" not in asked
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://server/v1") as http:
        return await take_ranked_canary(http, model="m", release="a@1")


async def test_the_ranked_one_asks_nothing_of_the_prompt(tmp_path: Path) -> None:
    assert len(BEGINNINGS) == 3 * len(TEXTS) - 1
    assert set(TEXTS) < set(BEGINNINGS)
    likeliest = {"top_logprobs": [{"token_id:9": -1.0, "token_id:4": -0.5}]}
    choices = [{"index": i, "logprobs": likeliest} for i in reversed(range(len(BEGINNINGS)))]
    canary = await ask_ranked(httpx.Response(200, json={"system_fingerprint": "b@2", "choices": choices}))
    assert (canary.tokens[0], canary.values[0], canary.ranked) == ((4, 9), (-0.5, -1.0), True)
    assert (canary.fingerprint, len(canary.tokens)) == ("b@2", len(BEGINNINGS))
    write_canary(tmp_path, canary)
    write_canary(tmp_path, replace(CANARY, release="a@1", dtype=""))
    assert {c.ranked for c in stored_canaries(tmp_path, "a@1")} == {True, False}
    assert stored_canary(tmp_path, "a@1", dtype="") == replace(CANARY, dtype="")
    with pytest.raises(StageError, match="no log-probabilities"):
        await ask_ranked(httpx.Response(200, json={"choices": [{"index": 0, "logprobs": {"top_logprobs": []}}]}))


def body(value: float | None = -1.5) -> dict[str, Any]:
    said = [None, {"7": {"logprob": value, "rank": 1}}, {"8": {"logprob": -0.5, "rank": 2}}]
    choices = [{"index": i, "prompt_logprobs": said} for i in reversed(range(len(TEXTS)))]
    return {"system_fingerprint": "b@2", "choices": choices}


async def test_it_is_read_of_one_answer() -> None:
    canary = await ask(httpx.Response(200, json=body()))
    assert (canary.tokens, canary.values) == (((7, 8),) * len(TEXTS), ((-1.5, -0.5),) * len(TEXTS))
    assert (canary.release, canary.fingerprint) == ("a@1", "b@2")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (httpx.ConnectError("refused"), DeployerUnavailable, r"canary of a@1 .*ConnectError"),
        (httpx.Response(500), StageError, "status 500"),
        (httpx.Response(200, text="hello"), StageError, "no vLLM server"),
        (httpx.Response(200, json={"choices": [{"index": 0}]}), StageError, "no log-probabilities"),
        (httpx.Response(200, json=body(None)), StageError, "no log-probabilities"),
        (httpx.Response(200, json={"choices": body()["choices"][1:]}), StageError, "missing"),
        (httpx.Response(200, content=json.dumps(body(math.nan))), StageError, "no numbers"),
    ],
)
async def test_a_bad_answer_is_refused(
    answer: httpx.Response | httpx.HTTPError, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await ask(answer)
