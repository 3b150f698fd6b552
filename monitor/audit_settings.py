"""Settings of audits: where they are kept, what signs them, and when the daemon makes one."""

from __future__ import annotations

from pathlib import Path

from monitor.section import Section

__all__ = ["AuditSettings"]


class AuditSettings(Section):
    """Audits, see docs/howto/audits.md."""

    folder: Path = Path("audits")
    """Where they are kept, one folder each; a relative path counts from the configuration file."""
