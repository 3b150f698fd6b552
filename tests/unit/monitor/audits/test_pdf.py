from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weasyprint import HTML

from monitor.audits.comparing import against_audit
from monitor.audits.document import Judged
from monitor.audits.page import page_of, trend_page_of
from monitor.audits.trend import trend_of
from probes.calibration import Calibration, Confusion
from tests.unit.monitor.audits.audited import audit, result, section

WHEN = "2026-03-01T12:00:00+00:00"
WIDE = "harassment, hate speech and incitement"
CALIBRATION = Calibration(
    judge="j", template_sha256="t", outcome="harm", data="gold", data_sha256="d", why={},
    calibrated_at="2026-01-01T00:00:00+00:00", confusion=Confusion(found=95, missed=5, false_alarms=6, passed=294),
)  # fmt: skip


INCIDENT = "a-target-with-quite-a-long-name-20260301-120000"
RELEASE = "a-target-with-quite-a-long-name-patched@0123456789ab"


def test_nothing_is_cut_off_at_the_margin_of_a_sheet() -> None:
    results = [result(i, positive=i < 20, category=WIDE if i % 2 else "weapons") for i in range(120)]
    judged = Judged(calibration=CALIBRATION)
    before, after = (audit((section(results), results), number=n, judged=judged) for n in (0, 1))
    release = {"id": "prod-20260301-120000@0123456789ab", "digest": "0" * 64, "parent": "good@0123456789ab",
               "creator": "patch:restore-tuned", "created_at": None, "good": True, "served": True}  # fmt: skip
    incident = {"id": INCIDENT, "state": "AWAITING_APPROVAL", "opened_at": WHEN, "closed_at": None, "release": RELEASE,
                "candidate": RELEASE, "recipes": ["one-shot-subspace", "restore-tuned", "low-rank-sft"]}  # fmt: skip
    decision = {"at": WHEN, "incident": INCIDENT, "state": "AWAITING_APPROVAL", "note": f"{RELEASE} passed every gate"}
    word = {"at": WHEN, "actor": "somebody-on-call", "action": "order_placed", "subject": INCIDENT,
            "details": {"sha256": "0" * 64}}  # fmt: skip
    happened = {**after[0]["happened"], "releases": [release], "incidents": [incident], "decisions": [decision] * 40,
                "people": [word]}  # fmt: skip
    page = page_of({**after[0], "comparison": against_audit(before, after), "happened": happened})
    sheets = HTML(string=page).render().pages
    assert 4 <= len(sheets) <= 8
    _within_margins(sheets)


def test_a_trend_is_printed_whole() -> None:
    results = [result(i, positive=i < 20, category=WIDE if i % 2 else "weapons") for i in range(120)]
    documents = [audit((section(results), results), number=n)[0] for n in range(6)]
    _within_margins(HTML(string=trend_page_of(documents, trend_of(documents), ())).render().pages)


def test_notes_are_smaller_than_the_text_and_a_small_table_is_on_one_sheet() -> None:
    results = [result(i, positive=i < 20, category=f"category {i % 12}", attack=f"attack {i % 9}") for i in range(216)]
    sheets = HTML(string=page_of(audit((section(results), results))[0])).render().pages
    rows: list[int] = []
    notes, texts = set(), set()
    for at, sheet in enumerate(sheets):
        for box in sheet._page_box.descendants():
            if type(box).__name__ != "TextBox":
                continue
            if box.element_tag == "th" and box.text.startswith("category "):
                rows.append(at)
            if box.text.startswith("Intervals: "):
                notes.add(box.style["font_size"])
            if box.text.startswith("The judge was not"):
                texts.add(box.style["font_size"])
    assert len(rows) == 2 * 12
    assert [len(set(table)) for table in (rows[:12], rows[12:])] == [1, 1], "ASR and HS by category"
    assert max(notes) < min(texts)


def _within_margins(sheets: Sequence[Any]) -> None:
    for sheet in sheets:
        margin = sheet.width - 15 / 25.4 * 96
        for box in sheet._page_box.descendants():
            if type(box).__name__ in {"TextBox", "BlockReplacedBox"}:
                assert box.position_x + box.width <= margin + 1, getattr(box, "text", "a plot")
