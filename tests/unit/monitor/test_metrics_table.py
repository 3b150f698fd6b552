"""The README's table of metrics is the one that the code exports; run as a module, it writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from monitor.metrics import METRICS

README = Path(__file__).resolve().parents[3] / "README.md"
_TABLE = re.compile(r"(<!-- metrics: [^\n]*-->\n).*?(<!-- /metrics -->)", re.DOTALL)


def table() -> str:
    rows = [f"| `{name}` | {text} | {', '.join(labels)} |" for name, (text, labels) in METRICS.items()]
    return "\n".join(["| metric | what it is | labels |", "| --- | --- | --- |", *rows, ""])


def test_the_table_is_current() -> None:
    found = _TABLE.search(README.read_text(encoding="utf-8"))
    assert found
    assert found[0] == f"{found[1]}{table()}{found[2]}", "run python -m tests.unit.monitor.test_metrics_table"


if __name__ == "__main__":
    README.write_text(_TABLE.sub(rf"\g<1>{table()}\g<2>", README.read_text(encoding="utf-8")), encoding="utf-8")
