"""Whether an error says that memory ran out. Without torch, whose errors are told by their names and words."""

from __future__ import annotations

__all__ = ["out_of_memory"]

_WORDS = ("allocate memory", "out of memory")


def out_of_memory(error: BaseException) -> bool:
    """Torch says it in words: on the CPU in a plain RuntimeError, on a GPU in one of its own."""
    named = type(error).__name__ == "OutOfMemoryError"
    return named or isinstance(error, MemoryError) or any(words in str(error) for words in _WORDS)
