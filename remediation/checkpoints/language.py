"""Whether a text is in a language that a model speaks, as far as its tokenizer and the letters tell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from remediation.checkpoints.chat import ChatModel
from remediation.errors import PatchFailed

__all__ = ["other_script", "require_known", "unknown_share"]

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""How SentencePiece writes a byte of a character that its vocabulary lacks."""
_UNKNOWN_MAX = 0.25


def unknown_share(chat: ChatModel, text: str) -> float:
    """Share of a text's tokens that are unknown or single bytes of characters that the vocabulary lacks."""
    ids = chat.answer_ids(text, whole=False)
    pieces = chat.tokenizer.convert_ids_to_tokens(ids)
    unknown = chat.tokenizer.unk_token
    return sum(p == unknown or bool(_BYTE.fullmatch(p)) for p in pieces) / len(ids) if ids else 1.0


def require_known(chat: ChatModel, text: str, *, option: str) -> None:
    """Refuse to teach a text that the model can't say.

    Args:
        option: Option of the recipe that holds the text.

    Raises:
        PatchFailed: Over a quarter of its tokens are unknown to the model.
    """
    share = unknown_share(chat, text)
    if share > _UNKNOWN_MAX:
        raise PatchFailed(
            f"the refusal {text!r} is not in the model's language: its tokenizer does not know {share:.0%} of it; set "
            f"the recipe's option {option} to a refusal in a language that the model speaks"
        )


def other_script(texts: Iterable[str]) -> str:
    """Name the script that most letters are in where it is not Latin: there the phrases of refusals know nothing.

    Returns:
        The first word of the letters' Unicode names, e.g. ``CYRILLIC`` or ``CJK``; empty for Latin and for no letters.
    """
    scripts = Counter(unicodedata.name(c, "OTHER").split()[0] for text in texts for c in text if c.isalpha())
    most = max(scripts, key=lambda s: scripts[s], default="LATIN")
    return "" if most == "LATIN" else most
