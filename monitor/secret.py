"""Secrets of the settings: written out, or kept in a variable of the environment or in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, SecretStr

__all__ = ["Secret", "anchored", "masked", "may_hold_secret"]

_WAYS = {"env", "file"}


def _resolved(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not value.keys() <= _WAYS or not isinstance(named := next(iter(value.values())), str):
        raise ValueError("write the secret out, or {env: VARIABLE}, or {file: PATH}")
    if "env" in value:
        if not (found := os.environ.get(named)):
            raise ValueError(f"the environment has no variable {named}")
        return found
    try:
        found = Path(named).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{named} can't be read ({error})") from error
    if not found:
        raise ValueError(f"{named} is empty")
    return found


Secret = Annotated[SecretStr, BeforeValidator(_resolved)]
"""A text that is never shown: ``text``, ``{env: VARIABLE}`` or ``{file: PATH}``."""


def anchored(value: Any, folder: Path) -> Any:  # noqa: ANN401  (settings, as YAML gives them)
    """Make the paths of ``{file: PATH}`` count from a folder, wherever they stand."""
    if isinstance(value, dict):
        if value.keys() == {"file"} and isinstance(value["file"], str):
            return {"file": str(folder / value["file"])}
        return {k: anchored(v, folder) for k, v in value.items()}
    return [anchored(v, folder) for v in value] if isinstance(value, list) else value


def masked(value: Any) -> Any:  # noqa: ANN401  (options are whatever a plugin takes)
    """Put asterisks in the place of every text in some options; where a secret is kept may be shown."""
    if isinstance(value, dict):
        where = len(value) == 1 and value.keys() <= _WAYS
        return dict(value) if where else {k: masked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v) for v in value]
    return "**********" if isinstance(value, str) else value


def may_hold_secret(annotation: Any) -> bool:  # noqa: ANN401  (annotations have no type)
    """Whether a field of this type is a secret, or may have one in it: options of plugins are whatever they take.

    A field that is no ``Secret`` and yet not to be shown says so by ``repr=False``.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(not f.repr or may_hold_secret(f.annotation) for f in annotation.model_fields.values())
    return annotation is SecretStr or annotation is Any or any(may_hold_secret(a) for a in get_args(annotation))
