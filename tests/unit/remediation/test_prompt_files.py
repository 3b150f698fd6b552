"""Files of prompts are split at lines of dashes, wherever they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediation.lessons.answers import read_prompts
from remediation.lessons.pool import site_pool
from remediation.prompt_files import split_prompts


@pytest.mark.parametrize(
    "text",
    [
        "one\n---\ntwo\nlines",
        "---\none\n---\ntwo\nlines\n---",
        "one\n--- \ntwo\nlines\n---\t\n",
        "\n---\n---\none\n\n---\n\ntwo\nlines\n\n---",
    ],
)
def test_a_line_of_dashes_separates_wherever_it_stands(tmp_path: Path, text: str) -> None:
    assert split_prompts(text) == ["one", "two\nlines"]
    for written in (text, text.replace("\n", "\r\n")):
        file = tmp_path / "prompts.txt"
        file.write_bytes(written.encode())
        assert read_prompts(file) == ["one", "two\nlines"]
        assert [b.prompt for b in site_pool(file)] == ["one", "two\nlines"]


def test_dashes_inside_a_line_belong_to_the_prompt() -> None:
    assert split_prompts("a --- b\n----\n--- c") == ["a --- b\n----\n--- c"]
    assert split_prompts("---") == split_prompts("") == []
