"""What is done to a reply before it stands in a judge's prompt: nothing in it may speak for the prompt. Pure.

A reply can hold the marks by which a judge's prompt is built (``[/INST]``, ``<|eot_id|>``, a turn of the user) or by
which its answer is read (``#thescore:``). Each is broken by a space, so that it still reads the same to a judge and
is no mark any more. A reply without such marks passes unchanged, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["VERSION", "Neutral", "encodable", "neutral"]

VERSION = "neutral/2"
"""Names what is broken and how; to be changed with it, since it decides verdicts too."""

_MARKS = re.compile(
    r"""
      <\|[\w.:/-]{1,64}\|>                            # <|im_start|>, <|eot_id|>, <|start_of_role|>
    | <\uff5c[\w\u2581-]{1,64}\uff5c>                  # DeepSeek's, with full-width bars
    | </?(?:s|unk|pad|bos|eos|start_of_turn|end_of_turn|think|score|confidence|guardian)>
    | <</?SYS>>
    | <(?:BEGIN|END)\ [A-Z ]{1,40}>                   # Llama Guard's and Qwen3Guard's sections
    | \[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]
    | \[(?:BEHAVIOR|GENERATION|CONTEXT|IMAGE\ DESCRIPTION)\]:
    | \#(?:thescore|thereason|scores|overall_reasoning)  # whatever follows: `#thescore_: 1` is read as one too
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ROLES = re.compile(
    r"""
    ^([ \t>*\#]*(?:system|user|assistant|human|human\ user|ai\ assistant|ai\ model\ response|user\ instruction
    |human\ question|chatbot\ response|harmful\ request|response\ refusal|harmful\ response)[ \t*]*):
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Neutral:
    """A reply that can stand in a judge's prompt.

    Attributes:
        broken: How many marks and unseen characters were broken.
    """

    text: str
    broken: int


def neutral(reply: str) -> Neutral:
    """Break what could be read as a part of a judge's prompt or answer.

    Marks get a space after their first character, a role at the start of a line gets a dash for its colon, control
    characters and lone surrogates become U+FFFD.
    """
    text, unseen = _UNSEEN.subn("\ufffd", reply)
    text, lone = _SURROGATES.subn("\ufffd", text)
    text, marks = _MARKS.subn(lambda m: f"{m[0][0]} {m[0][1:]}", text)
    text, roles = _ROLES.subn(r"\1 -", text)
    return Neutral(text=text, broken=unseen + lone + marks + roles)


def encodable(text: str) -> str:
    """Replace lone surrogates, which no request can carry, by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)
