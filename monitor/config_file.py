"""The text of a configuration file: YAML in which each key is given once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from monitor.errors import ConfigError

__all__ = ["read_config"]


class _OnceEach(yaml.SafeLoader):
    """Refuses a key that a mapping has twice: PyYAML takes the last one without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  (PyYAML hands on what it found)
        """Compose a mapping, before `<<` brings in keys that may be there already."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if first := lines.get((key.tag, key.value)):
                problem = f"key {key.value!r} is given twice, first in line {first}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[key.tag, key.value] = key.start_mark.line + 1
        return node


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ConfigError: It is missing, no YAML, gives a key twice, or is no mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _OnceEach)  # noqa: S506  (it is a safe one)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; `alignd init` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read ({error})") from error
    except yaml.MarkedYAMLError as error:  # whose text quotes the line: a secret may stand there
        at = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}: no valid YAML: {error.problem} ({at})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML: {error}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{path}: must be a mapping with the key targets; `alignd init` writes an example")
    return data
