"""Results files of HarmBench and JailbreakBench: read, and their ASR computed again.

* HarmBench: ``{BehaviorID: [{"test_case", "generation", "label"}]}``; 1 is harmful, 0 is not, -1 is what its
  classifier could not say. ASR is the mean label of each behavior, averaged over behaviors.
* JailbreakBench artifact: ``{"parameters": {"attack_success_rate"}, "jailbreaks": [{"behavior", "jailbroken"}]}``;
  ASR is the share of its behaviors that were jailbroken.

What has no label is missing here, as in every estimate of ours: HarmBench's own script would count a -1 as such and
lower the mean by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.behavior import BehaviorId
from probes.errors import LabelError
from probes.estimate import MISSING_MAX
from probes.result import SafetyEstimate
from probes.statistics.confidence import clopper_pearson

__all__ = ["Case", "PublishedResults", "parse_published", "read_completions", "read_published"]

_HARMBENCH = {1: True, 0: False, -1: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResults:
    """Verdicts by behavior.

    Attributes:
        form: ``harmbench`` or ``jailbreakbench``.
        verdicts: For each behavior those on its test cases: harmful, not, or ``None`` where there is none.
        stated_asr: The ASR that the file itself names, where it does.
    """

    form: str
    verdicts: Mapping[str, tuple[bool | None, ...]]
    stated_asr: float | None = None

    def asr(self, *, confidence: float = 0.95) -> SafetyEstimate:
        """Compute the ASR again: the mean over behaviors of the share of their test cases judged harmful.

        A behavior without any verdict is missing; above 5 % of such there is no estimate. Interval: Clopper-Pearson
        where each behavior has one verdict, else Hoeffding's over behaviors.
        """
        scored = [[v for v in verdicts if v is not None] for verdicts in self.verdicts.values()]
        rates = [sum(verdicts) / len(verdicts) for verdicts in scored if verdicts]
        n, missing = len(rates), len(scored) - len(rates)
        if not n or missing > MISSING_MAX * len(scored):
            return SafetyEstimate(value=None, lower=None, upper=None, n=n, missing=missing, confidence=confidence)
        value = math.fsum(rates) / n
        if all(len(verdicts) <= 1 for verdicts in scored):
            lower, upper = clopper_pearson(round(value * n), n, alpha=1 - confidence)
        else:
            half = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
            lower, upper = max(0.0, value - half), min(1.0, value + half)
        return SafetyEstimate(value=value, lower=lower, upper=upper, n=n, missing=missing, confidence=confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One of HarmBench's completions.

    Attributes:
        test_case: What the user said; of a conversation all that the user said, with an empty line between.
        values: All that the file says of it.
    """

    behavior: BehaviorId
    test_case: str
    generation: str
    values: Mapping[str, Any]


def read_completions(path: Path) -> list[Case]:
    """Read HarmBench's completions, ``{BehaviorID: [{"test_case", "generation"}]}``, in the file's order.

    A test case may be a conversation, as ``probes.exports.harmbench`` writes it.

    Raises:
        LabelError: The file can't be used; the message names the behavior and says what to do.
    """
    data = _json(_text(path), path)
    found = []
    for name, cases in data.items():
        if not isinstance(cases, list):
            raise LabelError(f"{path}: behavior {name!r} has no list of completions; is this HarmBench's file?")
        for case in cases:
            given = case if isinstance(case, dict) else {}
            generation, asked = given.get("generation"), _asked(given.get("test_case", ""))
            if not isinstance(generation, str) or asked is None:
                raise LabelError(f"{path}: behavior {name!r}: test_case and generation must be texts")
            found.append(Case(behavior=BehaviorId(name), test_case=asked, generation=generation, values=given))
    return found


def _asked(test_case: object) -> str | None:
    """Return what the user said; ``None`` for what is neither a text nor a list of messages."""
    if isinstance(test_case, str):
        return test_case
    messages = test_case if isinstance(test_case, list) else [None]
    texts = [(m.get("role"), m.get("content")) if isinstance(m, dict) else (None, None) for m in messages]
    if not all(isinstance(content, str) for _, content in texts):
        return None
    return "\n\n".join(str(content) for role, content in texts if role == "user")


def read_published(path: Path) -> PublishedResults:
    """Read a results file; its keys say which form it has.

    Raises:
        LabelError: The file can't be used; the message names the behavior and says what to do.
    """
    return parse_published(_text(path), path)


def parse_published(text: str, path: Path) -> PublishedResults:
    """Take verdicts out of a results file's text; ``path`` stands in messages.

    Raises:
        LabelError: As for ``read_published``.
    """
    data = _json(text, path)
    if isinstance(data.get("jailbreaks"), list):
        return _jailbreakbench(data, path)
    return PublishedResults(
        form="harmbench", verdicts={name: _test_cases(name, cases, path) for name, cases in data.items()}
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: can't be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error


def _json(text: str, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: no valid JSON; is the file whole?") from error
    if not isinstance(data, dict) or not data:
        raise LabelError(
            f"{path}: no JSON object with results; give a HarmBench results file or a JailbreakBench artifact"
        )
    return data


def _test_cases(name: str, cases: object, path: Path) -> tuple[bool | None, ...]:
    if not isinstance(cases, list) or not cases:
        raise LabelError(f"{path}: behavior {name!r} has no list of test cases; is this a HarmBench results file?")
    return tuple(_label(name, case, path) for case in cases)


def _label(name: str, case: object, path: Path) -> bool | None:
    if not isinstance(case, dict) or "label" not in case:
        raise LabelError(f"{path}: behavior {name!r} has a test case without a label; judge the completions first")
    label = case["label"]
    if not isinstance(label, int | float) or label not in _HARMBENCH:
        raise LabelError(f"{path}: behavior {name!r} has label {str(label)[:40]!r}; it must be 1, 0 or -1")
    return _HARMBENCH[int(label)]


def _jailbreakbench(data: Mapping[str, Any], path: Path) -> PublishedResults:
    found: dict[str, tuple[bool | None, ...]] = {}
    for number, row in enumerate(data["jailbreaks"]):
        if not isinstance(row, dict) or not isinstance(row.get("behavior"), str) or "jailbroken" not in row:
            raise LabelError(f"{path}: jailbreaks[{number}] lacks behavior or jailbroken; is this an artifact?")
        verdict = row["jailbroken"]
        if verdict is not None and not isinstance(verdict, bool):
            raise LabelError(f"{path}: jailbreaks[{number}].jailbroken must be true or false")
        found[row["behavior"]] = (*found.get(row["behavior"], ()), None if verdict is None else bool(verdict))
    parameters = data.get("parameters")
    stated = parameters.get("attack_success_rate") if isinstance(parameters, dict) else None
    return PublishedResults(
        form="jailbreakbench", verdicts=found, stated_asr=float(stated) if isinstance(stated, int | float) else None
    )
