"""Whether a text is in a language that a model speaks, as far as its tokenizer and the letters tell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator

from remediation.checkpoints.chat import ChatModel
from remediation.errors import PatchFailed

__all__ = ["Refusal", "other_script", "require_known", "unknown_share"]

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""How SentencePiece writes a byte of a character that its vocabulary lacks."""
_UNKNOWN_MAX = 0.25
_LETTERS_MIN, _SHARE_MIN = 16, 0.8
"""Of the model's own answers, and of these in one script: fewer, or more mixed ones, tell nothing."""
_JAPANESE = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK"}
"""Written side by side; which of them is most of a text says nothing of its language."""


def _worded(text: str) -> str:
    if text and not any(c.isalnum() for c in text):
        raise ValueError(f"{text!r} has no words; give a sentence that declines, or leave it out for the published one")
    return text


Refusal = Annotated[str, AfterValidator(_worded)]
"""A recipe's option: the answer that is taught in place of the published one; empty for that."""


def unknown_share(chat: ChatModel, text: str) -> float:
    """Share of a text's tokens that are unknown or single bytes of characters that the vocabulary lacks."""
    ids = chat.answer_ids(text, whole=False)
    pieces = chat.tokenizer.convert_ids_to_tokens(ids)
    unknown = chat.tokenizer.unk_token
    return sum(p == unknown or bool(_BYTE.fullmatch(p)) for p in pieces) / len(ids) if ids else 1.0


def require_known(chat: ChatModel, text: str, *, said: Sequence[str], option: str) -> None:
    """Refuse to teach a text that the model can't say, or that it would not say by itself.

    A tokenizer that works on bytes knows every text; there the letters of the model's own answers tell its script. Of
    two languages in one script nothing is noticed.

    Args:
        said: The model's own answers to a few harmless requests.
        option: Option of the recipe that holds the text.

    Raises:
        PatchFailed: It is longer than half of what the model can read, over a quarter of its tokens are unknown to the
            model, it has no words, or the model answers in another script.
    """
    try:
        _worded(text or " ")
    except ValueError as error:
        raise PatchFailed(f"the recipe's option {option}: {error}") from error
    way_out = f"set the recipe's option {option} to a refusal in a language that the model speaks"
    room = getattr(chat.model.config.get_text_config(), "max_position_embeddings", None)
    if room and (length := len(chat.answer_ids(text))) > room // 2:
        raise PatchFailed(
            f"the recipe's option {option} has {length} tokens, and the model reads {room} in all; give a sentence"
        )
    share = unknown_share(chat, text)
    if share > _UNKNOWN_MAX:
        raise PatchFailed(
            f"the refusal {text!r} is not in the model's language: its tokenizer does not know {share:.0%} of it; "
            f"{way_out}"
        )
    told, own = _scripts([text]), _scripts(said)
    wanted, most = (max(s, key=lambda n: s[n], default="") for s in (told, own))
    letters = own.total()
    if letters >= _LETTERS_MIN and own[most] >= _SHARE_MIN * letters and wanted not in {"", most}:
        raise PatchFailed(
            f"the refusal {text!r} is not in the model's language: it is in {wanted} letters, and the model answers in "
            f"{most} ones; {way_out} (the recipes' requests are English, and so are the phrases by which the screen "
            "tells refusals: repairs of a model that declines in another language end there)"
        )


def other_script(texts: Iterable[str]) -> str:
    """Name the script that most letters are in where it is not Latin: there the phrases of refusals know nothing.

    Returns:
        The first word of the letters' Unicode names, e.g. ``CYRILLIC`` or ``CJK``; empty for Latin and for no letters.
    """
    scripts = _scripts(texts)
    most = max(scripts, key=lambda s: scripts[s], default="LATIN")
    return "" if most == "LATIN" else most


def _scripts(texts: Iterable[str]) -> Counter[str]:
    """Count letters by script."""
    names = (unicodedata.name(c, "OTHER").split()[0] for text in texts for c in text if c.isalpha())
    return Counter(_JAPANESE.get(name, name) for name in names)
