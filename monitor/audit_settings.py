"""Settings of audits: where they are kept, what signs them, and when the daemon makes one."""

from __future__ import annotations

from pathlib import Path

from monitor.section import Section

__all__ = ["AuditSettings"]


class AuditSettings(Section):
    """Audits, see docs/howto/audits.md."""

    folder: Path = Path("audits")
    """Where they are kept, one folder each; a relative path counts from the configuration file."""
    private_key: Path | None = None
    """Ed25519 key that signs each audit's manifest, as `alignd audit key` makes it; none leaves audits unsigned. A
    relative path counts from the configuration file."""

    def placed(self, base: Path) -> AuditSettings:
        """Return the same with paths that count from a folder."""
        key = base / self.private_key if self.private_key else None
        return self.model_copy(update={"folder": base / self.folder, "private_key": key})
