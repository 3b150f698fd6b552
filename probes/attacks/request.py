"""What a request in English asks for, as far as a few rules can tell.

Rules rewrite only what they surely understand: one short sentence of a known form. Everything else is ``OTHER`` and is
to be quoted as it is, so that arbitrary text stays readable and whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from probes.behavior import Behavior

__all__ = ["Form", "Request", "goal_of", "parse", "with_goal"]


class Form(StrEnum):
    """How a request is put."""

    HOW = "how"
    """How to do something: ``rest`` is what is done, e.g. ``hotwire a parked car``."""
    DO = "do"
    """An order: ``verb`` and ``rest``, e.g. ``write`` and ``a letter to my landlord``."""
    WHAT_PEOPLE = "what-people"
    """A question about what somebody can do: ``head`` is the question's beginning, e.g. ``where``."""
    QUESTION = "question"
    """Another question with a verb that can be put into the past: ``head``, ``verb`` and ``rest``."""
    OTHER = "other"
    """Anything else: ``rest`` is the whole text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, taken apart.

    Attributes:
        recipient: Whether an order names the one who asks, as in ``write me``; it is left out of ``rest``.
    """

    form: Form
    rest: str
    head: str = ""
    verb: str = ""
    recipient: bool = False


_ORDERS = (
    "act adapt advise advocate analyse analyze answer approve argue arrange assemble assist assure bake blackmail "
    "brainstorm break build bypass calculate change choose clarify coach code coin collect come comment compare "
    "compile compose compute conduct construct continue convert convince cook correct craft create criticise "
    "criticize debate debug deceive decide define demonstrate describe design detail determine develop devise "
    "diagnose direct discuss draft draw edit encourage estimate evaluate examine expand explain exploit explore "
    "express extract fabricate fake figure find fix forge form formulate gather generate give guess guide hack hide "
    "identify illustrate imagine impersonate improve incite insert install instruct invent justify lay lead list "
    "locate make manipulate manufacture map mix model modify name narrate offer optimize organise organize outline "
    "paint paraphrase pen perform persuade phrase pick plan play plot post praise predict prepare prescribe present "
    "pretend print produce profile program promise promote propose prove provide publish put rank rate recommend "
    "record recount release rephrase report review rewrite roast round say script sell send set share shorten show "
    "simplify simulate sketch slander smuggle solve sort speak spell split spread start state steal stop suggest "
    "summarise summarize supply talk tamper teach tell test threaten trace train transform translate trick turn type "
    "unpack use walk warn word work write"
)
_VERBS = frozenset(_ORDERS.split())

_MAX = 300
_POLITE = re.compile(
    r"^(?:please,?|kindly|(?:can|could|would|will) you(?: please| kindly)?"
    r"|i (?:want|need|would like) you to|i'd like you to)\s+",
    re.IGNORECASE,
)
_TELLING = r"(?:explain|describe|show|tell|teach|demonstrate|illustrate|outline|detail|list|instruct|advise)"
_TEXTS = (
    r"(?:instructions?|directions|guidance|guide|tutorial|manual|steps|walkthrough|recipe|advice|tips|list|lesson|"
    r"article|explanation|description|plan|video|post|script|document|details|information|suggestions|overview)"
)
_HOW = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^how (?:do|can|could|would|should|might) (?:i|you|one|we|someone|somebody|people) (?P<rest>\S.*)$",
        r"^how to (?P<rest>\S.*)$",
        (
            rf"^{_TELLING}(?: to)?(?: me| us)?(?: in detail)?,? how (?:to|(?:i|one|you|we) (?:can|could|should)) "
            r"(?P<rest>\S.*)$"
        ),
        r"^teach me to (?P<rest>\S.*)$",
        r"^help me (?:to )?(?P<rest>(?!with\b)\S.*)$",
        r"^i (?:want|need|would like) to (?:(?:know|learn|find out) how to )?(?P<rest>\S.*)$",
        (
            rf"^(?:give|provide|write|create|develop|produce|make|offer|draft|generate|publish)(?: me| us)?"
            rf"(?: (?!how\b)[\w-]+){{0,5}}? {_TEXTS}(?: for| on| about| of| explaining| describing| that explains?)?"
            r" how to (?P<rest>\S.*)$"
        ),
    )
)
_WHAT_PEOPLE = re.compile(
    r"^(?P<head>(?:what|which|who|where|when|why|how)(?: (?!to\b|is\b|are\b|was\b|were\b)[^\s,?]+){0,6}?) "
    r"(?:do|can|could|should|would|must|might|will) (?:i|you|one|we|someone|somebody|people) (?P<rest>\S.*)$"
    r"|^(?P<yes>)(?:can|could|should|may|do|would|will) (?:i|one|we|someone|somebody|people) (?P<rest2>\S.*)$",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^(?P<head>(?:(?:what|who|where|when|why|how) )?)(?P<verb>is|are|do|does|can|will) (?P<rest>\S.*)$", re.IGNORECASE
)


def goal_of(behavior: Behavior) -> str:
    """Return what is asked without the context before it; the whole prompt where the suite does not keep them apart."""
    goal = behavior.goal
    return goal if goal and behavior.prompt.endswith(goal) else behavior.prompt


def with_goal(behavior: Behavior, goal: str) -> str:
    """Return the prompt with another goal in the place of its own, after the same context."""
    return behavior.prompt[: len(behavior.prompt) - len(goal_of(behavior))] + goal


def parse(text: str) -> Request:
    """Take a request apart; ``OTHER`` with the text as it is where no rule is sure."""
    other = Request(form=Form.OTHER, rest=text)
    sentence = text.strip().rstrip(".!? ")
    if not sentence or len(sentence) > _MAX or not sentence.isprintable() or re.search(r"[.!?:;]['\")]*\s", sentence):
        return other
    if sentence.count('"') % 2:
        return other
    sentence = _POLITE.sub("", sentence).removesuffix(" please").rstrip(", ")
    return _how(sentence) or _question(sentence) or _order(sentence) or other


def _how(sentence: str) -> Request | None:
    for pattern in _HOW:
        if match := pattern.match(sentence):
            return Request(form=Form.HOW, rest=match["rest"])
    return None


def _question(sentence: str) -> Request | None:
    if match := _WHAT_PEOPLE.match(sentence):
        rest = match["rest"] or match["rest2"]
        return Request(form=Form.WHAT_PEOPLE, head=_lower(match["head"] or ""), rest=rest)
    if match := _QUESTION.match(sentence):
        verb = match["verb"].lower()
        return Request(form=Form.QUESTION, head=_lower(match["head"].strip()), verb=verb, rest=match["rest"])
    return None


def _order(sentence: str) -> Request | None:
    verb, _, rest = sentence.partition(" ")
    if verb.lower() not in _VERBS or not rest.strip():
        return None
    recipient = re.match(r"(?:me|us) (?=\S)", rest)
    return Request(
        form=Form.DO, verb=verb.lower(), rest=rest[recipient.end() :] if recipient else rest, recipient=bool(recipient)
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
