from __future__ import annotations

from weasyprint import HTML

from monitor.audits.comparing import against_audit
from monitor.audits.document import Judged
from monitor.audits.page import page_of
from probes.calibration import Calibration, Confusion
from tests.unit.monitor.audits.audited import audit, result, section

WIDE = "harassment, hate speech and incitement"
CALIBRATION = Calibration(
    judge="j", template_sha256="t", outcome="harm", data="gold", data_sha256="d", why={},
    calibrated_at="2026-01-01T00:00:00+00:00", confusion=Confusion(found=95, missed=5, false_alarms=6, passed=294),
)  # fmt: skip


def test_nothing_is_cut_off_at_the_margin_of_a_sheet() -> None:
    results = [result(i, positive=i < 20, category=WIDE if i % 2 else "weapons") for i in range(120)]
    judged = Judged(calibration=CALIBRATION)
    before, after = (audit((section(results), results), number=n, judged=judged) for n in (0, 1))
    release = {"id": "prod-20260301-120000@0123456789ab", "digest": "0" * 64, "parent": "good@0123456789ab",
               "creator": "patch:restore-tuned", "created_at": None, "good": True, "served": True}  # fmt: skip
    happened = {**after[0]["happened"], "releases": [release]}
    page = page_of({**after[0], "comparison": against_audit(before, after), "happened": happened})
    printed = HTML(string=page).render().pages
    assert 2 <= len(printed) <= 6
    for sheet in printed:
        margin = sheet.width - 15 / 25.4 * 96
        for box in sheet._page_box.descendants():
            if type(box).__name__ in {"TextBox", "BlockReplacedBox"}:
                assert box.position_x + box.width <= margin + 1, getattr(box, "text", "a plot")
