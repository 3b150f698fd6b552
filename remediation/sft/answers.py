"""What recipes learn from: a model's own answers, and the site's own prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.sft.chat import ChatModel

__all__ = ["answers", "read_prompts"]


def answers(chat: ChatModel, prompts: Sequence[str], tokens: int, *, whole: bool) -> list[Row]:
    """Ask a model; prompts that it leaves empty are left out.

    Args:
        tokens: New tokens at most.
        whole: Whether the rows shall teach to stop where the answers end.
    """
    said = chat.generate(prompts, max_tokens=tokens) if prompts else ()
    return [Row(p, a.strip(), whole) for p, a in zip(prompts, said, strict=True) if a.strip()]


def read_prompts(file: Path | None) -> list[str]:
    """Read a text file of prompts separated by lines of ``---``; no file, no prompts.

    Raises:
        PatchFailed: The file can't be read.
    """
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PatchFailed(f"task_prompts {file} can't be read: {error}; mend the recipe's options") from error
    return [p.strip() for p in text.split("\n---\n") if p.strip()]
