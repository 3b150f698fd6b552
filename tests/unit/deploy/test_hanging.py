"""When a server hangs, and when it is only slow."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from deploy.vllm.hanging import LOOKS, Look, Silence, tokens_made

NOTHING, TOKEN = Look(answered=False, made="8"), Look(answered=True)


def looks_until_hung(looks: list[Look]) -> int | None:
    silence = Silence()
    for n, look in enumerate(looks, 1):
        silence = silence.after(look)
        if silence.hung:
            return n
    return None


def test_the_first_look_begins_the_silence() -> None:
    assert looks_until_hung([NOTHING] * LOOKS) is None
    assert looks_until_hung([NOTHING] * (LOOKS + 1)) == LOOKS + 1


@pytest.mark.parametrize("made", ["8", ""])
def test_one_token_ends_it(made: str) -> None:
    silent = [Look(answered=False, made=made)] * LOOKS
    assert looks_until_hung([*silent, TOKEN, *silent]) is None


def test_a_server_that_makes_tokens_for_others_does_not_hang() -> None:
    assert looks_until_hung([Look(answered=False, made=str(n)) for n in range(50)]) is None
    slow = chain.from_iterable(repeat(Look(answered=False, made=str(n)), LOOKS) for n in range(20))
    assert looks_until_hung(list(slow)) is None


def test_counters_that_can_not_be_read_are_no_progress() -> None:
    assert looks_until_hung([NOTHING, Look(answered=False), NOTHING, Look(answered=False)]) == LOOKS + 1


def test_only_counters_of_tokens_count() -> None:
    page = (
        '# HELP vllm:generation_tokens_total Tokens\nvllm:generation_tokens_total{engine="0"} 7.0\n'
        'vllm:prompt_tokens_total{engine="0"} 9.0\nvllm:num_requests_running 3.0\nprocess_cpu_seconds_total 5\n'
    )
    assert tokens_made(page) == (
        'vllm:generation_tokens_total{engine="0"} 7.0\nvllm:prompt_tokens_total{engine="0"} 9.0'
    )
    assert tokens_made("") == ""
