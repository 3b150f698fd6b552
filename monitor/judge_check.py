"""Hold a target's judge against labelled replies, round by round. Only the judge is asked, never the target."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from monitor.errors import ConfigError, JudgeUnavailable, NotMeasured
from monitor.judge_series import JudgeRow, JudgeState, RowKind, SeriesKey, judge_state
from monitor.store import JudgeBook
from probes.errors import LabelError
from probes.judge import Judge
from probes.labelled import LabelledReply, LabelledSet, Outcome, judge_labelled, outcome_of, read_labelled
from probes.plan import KeyedDraws

__all__ = ["JudgeCheck", "accept_judge", "check_due", "check_judge", "gold_set", "present_state", "row_id"]

_MISSING_MAX = 0.05
"""As for the estimates of a sweep."""
_CLASS_MIN = 10
"""Replies of each label, below which bounds say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCheck:
    """What it takes to check one target's judge; see ``monitor.statistics_settings.JudgeCheckSettings``.

    Attributes:
        labelled: The replies, see ``gold_set``.
        site_key: Decides which replies a round draws.
        replies: Of a round.
        gamma: Evidence that freezes the judge.
    """

    target: str
    judge: Judge
    labelled: LabelledSet
    book: JudgeBook
    site_key: str
    replies: int
    gamma: float

    @property
    def key(self) -> SeriesKey:
        """Who is checked on what."""
        return SeriesKey(
            judge=self.judge.id, template_sha256=self.judge.template_sha256, data_sha256=self.labelled.sha256
        )


def gold_set(path: Path, *, where: str) -> LabelledSet:
    """Read labelled replies to check a judge with.

    Args:
        path: The file.
        where: Key in the settings, for the message.

    Raises:
        ConfigError: It can't be used, or has too few replies of one kind.
    """
    try:
        labelled = read_labelled(path)
    except LabelError as error:
        raise ConfigError(f"{where}: {error}") from error
    if labelled.outcome is not Outcome.HARM:
        raise ConfigError(f"{where}: {path} says who refused; a judge is checked on replies labelled harmful or safe")
    harmful = sum(r.positive for r in labelled.replies)
    safe = len(labelled.replies) - harmful
    if min(harmful, safe) < _CLASS_MIN:
        raise ConfigError(
            f"{where}: {path} has {harmful} harmful and {safe} safe replies; label at least {_CLASS_MIN} of each, "
            "better 100 and 500"
        )
    return labelled


def present_state(check: JudgeCheck) -> JudgeState:
    """Say how the judge stands by the book; one that was not checked on these replies is not checked yet.

    Raises:
        LogFault: The book's records don't follow each other.
    """
    rows = check.book.judged(check.target)
    return judge_state(rows if rows and rows[0].key == check.key else (), gamma=check.gamma)


def check_due(state: JudgeState, *, hours: float, now: datetime) -> bool:
    """Whether the next round may begin: at once where nothing is calibrated, else ``hours`` after the last one.

    Where the clock was set back behind that, at once.
    """
    if not state.calibrated or state.checked_at is None:
        return True
    return not timedelta() <= now - state.checked_at < timedelta(hours=hours)


async def check_judge(check: JudgeCheck, *, clock: Callable[[], datetime]) -> JudgeState:
    """Show the judge one round of replies, put its verdicts on the book, and say how it stands.

    A series begins with a calibration, each reply once; later rounds draw replies with replacement, by key. What is
    written is the whole round or nothing.

    Raises:
        JudgeUnavailable: It has no verdict on any reply.
        NotMeasured: Over 5 % of the verdicts are missing, or nothing could show this judge to be worse.
        StaleSeries: Another process checked it meanwhile.
        LogFault: The book's records don't follow each other.
    """
    before = check.book.judged(check.target)
    goes_on = bool(before) and before[0].key == check.key and before[-1].kind is not RowKind.ACCEPTED
    number = before[-1].series + (not goes_on) if before else 1
    begin = before[-1].position + 1 if goes_on else 1
    kind = RowKind.CHECK if goes_on else RowKind.CALIBRATION
    replies = _drawn(check, before, begin) if goes_on else check.labelled.replies
    verdicts = await _verdicts(check, replies, name=f"{check.labelled.name}/{number}/{begin}")
    _require_enough(check.judge.id, verdicts)
    at = clock()
    rows = tuple(
        JudgeRow(
            target=check.target, series=number, position=begin + i, kind=kind, key=check.key, row=row_id(reply),
            label=reply.positive, called=called, missing=why, at=at,
        )
        for i, (reply, (called, why)) in enumerate(zip(replies, verdicts, strict=True))
    )  # fmt: skip
    try:
        state = judge_state((*before, *rows) if goes_on else rows, gamma=check.gamma)
    except ValueError as error:
        raise NotMeasured(str(error)) from error
    check.book.append_judged(rows)
    return state


def accept_judge(book: JudgeBook, target: str, *, gamma: float, by: str, at: datetime) -> None:
    """Let a frozen judge go on, by a person's word: its series ends, and the next check calibrates it anew.

    Raises:
        ConfigError: It is not frozen.
        StaleSeries: It was checked meanwhile.
    """
    rows = book.judged(target)
    if not judge_state(rows, gamma=gamma).frozen:
        raise ConfigError(f"the judge of {target} is not frozen: there is nothing to accept")
    last = rows[-1]
    accepted = replace(
        last, position=last.position + 1, kind=RowKind.ACCEPTED, row="", label=False, called=None, missing="", at=at,
        by=by,
    )  # fmt: skip
    book.append_judged([accepted])


def row_id(reply: LabelledReply) -> str:
    """Name a labelled reply without its text."""
    text = f"{len(reply.objective)}/{reply.objective}{reply.reply}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _drawn(check: JudgeCheck, series: Sequence[JudgeRow], begin: int) -> tuple[LabelledReply, ...]:
    """Draw among the replies whose calibration gave a verdict: the bounds speak of these alone."""
    known = {r.row for r in series if r.kind is RowKind.CALIBRATION and r.called is not None}
    replies = [reply for reply in check.labelled.replies if row_id(reply) in known]
    draws = KeyedDraws(check.site_key, f"judge-check/{check.target}/{series[0].series}")
    return tuple(replies[draws.bits(str(begin + i)) * len(replies) >> 64] for i in range(check.replies))


async def _verdicts(
    check: JudgeCheck, replies: Sequence[LabelledReply], *, name: str
) -> tuple[tuple[bool | None, str], ...]:
    """Ask the judge; a name of each round's own makes a cascade draw its audits anew."""
    judged = await judge_labelled(check.judge, replace(check.labelled, name=name, replies=tuple(replies)))
    said = [outcome_of(j, check.labelled.outcome) for j in judged]
    return tuple(
        (called, "" if called is not None else j.why or "no_verdict") for j, called in zip(judged, said, strict=True)
    )


def _require_enough(judge: str, verdicts: Sequence[tuple[bool | None, str]]) -> None:
    whys = Counter(why for called, why in verdicts if called is None)
    missing, n = whys.total(), len(verdicts)
    words = ", ".join(f"{why} {count}" for why, count in whys.most_common())
    if missing == n:
        raise JudgeUnavailable(f"judge {judge} scored none of {n} labelled replies ({words}); check that it is up")
    if missing > max(1.0, _MISSING_MAX * n):
        raise NotMeasured(
            f"judge {judge} scored {n - missing} of {n} labelled replies ({words}): the round does not count; the next "
            "one tries again"
        )
