"""What ``alignd probe`` was asked for, as given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["AskSettings", "Part"]


class Part(StrEnum):
    """A part of a suite."""

    ROTATING = "rotating"
    SENTINEL = "sentinel"
    SEALED = "sealed"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSettings:
    """Arguments of ``alignd probe``; what is empty or ``None`` comes of the configuration."""

    target: str
    endpoint: str
    model: str
    api_key: str
    suite: str
    kind: str
    task: str
    task_options: Mapping[str, Any]
    part: Part | None
    attacks: str
    attack_options: Mapping[str, Any]
    judge: str
    judge_options: Mapping[str, Any]
    n: int | None
    each: bool
    until_decided: bool
    max_tokens: int | None
    temperature: float | None
    concurrency: int | None
    full_speed: bool
    timeout: float | None
    fingerprint: bool
    with_text: bool
