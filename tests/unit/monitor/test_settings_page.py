"""The page of every setting is made of the settings' own schema; run as a module, it writes it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monitor.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "settings.md"
_INTRODUCTION = """# Settings

Made by `python -m tests.unit.monitor.test_settings_page` from the code. One file, `alignd.yaml`: `alignd init` writes
one, `alignd config check` says what is wrong in it, `alignd config show` prints what is in force. A variable
`ALIGND_SECTION__KEY` wins over the file. A key that is not here is refused.
"""
_LIMITS = {
    "minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters", "maxLength": "at most {} characters", "minItems": "at least {}",
    "maxItems": "at most {}", "pattern": "matches `{}`",
}  # fmt: skip


def page() -> str:
    schema = Settings.model_json_schema()
    parts = [_INTRODUCTION]
    for path, model in _sections("", schema, schema["$defs"]):
        parts.append(f"## {f'`{path}`' if path else 'At the top'}\n\n{_text(model)}\n")
        required = set(model.get("required", ()))
        rows = [_row(key, field, schema["$defs"], needed=key in required) for key, field in model["properties"].items()]
        parts.append("\n".join(["| key | value | default | what it is |", "| --- | --- | --- | --- |", *rows, ""]))
    return "\n".join(parts)


def _sections(
    path: str, model: Mapping[str, Any], models: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of the tree that has keys of its own, with where it stands in the file; each model once."""
    waiting, told = [(path, model)], set()
    while waiting:
        at, part = waiting.pop(0)
        yield at, part
        for key, field in part["properties"].items():
            for name, many in _models_in(field):
                if name not in told and "properties" in models[name]:
                    told.add(name)
                    waiting.append((f"{at}.{key}".lstrip(".") + ("[]" if many else ""), models[name]))


def _models_in(field: Mapping[str, Any], *, many: bool = False) -> Iterator[tuple[str, bool]]:
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], many
    for option in field.get("anyOf", ()):
        yield from _models_in(option, many=many)
    if isinstance(field.get("items"), Mapping):
        yield from _models_in(field["items"], many=True)


def _row(key: str, field: Mapping[str, Any], models: Mapping[str, Any], *, needed: bool) -> str:
    default = "needed" if needed else _default(field.get("default"))
    cells = (f"`{key}`", _value(field, models), default, _said(field, models))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _value(field: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """The kind of value and its limits."""
    if "$ref" in field:
        model = models[field["$ref"].rpartition("/")[2]]
        return _value(model, models) if "enum" in model else "section"
    if options := field.get("anyOf"):
        kinds = dict.fromkeys(_value(option, models) for option in options if option.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = {"path": "path", "password": "secret"}.get(field.get("format", ""), field.get("type", "any"))
    limits = [text.format(field[name]) for name, text in _LIMITS.items() if name in field]
    if kind == "array":
        limits, inner = [], field.get("items")
        kind = f"list of {_value(inner, models)}" if isinstance(inner, Mapping) else "list"
        kind = f"{kind}, not empty" if field.keys() & {"minItems", "minLength"} else kind
    return ", ".join([kind, *limits])


def _default(value: object) -> str:
    if value is None:
        return "none"
    if value in ("", [], {}):
        return "empty"
    if isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict)):
        plugins = [v["plugin"] for v in (value if isinstance(value, list) else [value]) if "plugin" in v]
        return ", ".join(f"`{name}`" for name in plugins) or "its own defaults"
    if isinstance(value, list):
        return ", ".join(f"`{v}`" for v in value)
    if isinstance(value, bool | float):
        return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}'}`"
    return f"`{value}`"


def _said(field: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """The field's own words; those of its section where they would be the same."""
    return _text(field) or next((_text(models[name]) for name, _ in _models_in(field)), "")


def _text(part: Mapping[str, Any]) -> str:
    return " ".join(str(part.get("description", "")).split())


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.unit.monitor.test_settings_page"


def test_every_setting_says_what_it_is() -> None:
    schema = Settings.model_json_schema()
    silent = [
        f"{path}.{key}" for path, model in _sections("", schema, schema["$defs"])
        for key, field in model["properties"].items() if not _said(field, schema["$defs"])
    ]  # fmt: skip
    assert silent == []


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
