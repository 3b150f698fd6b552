"""Whether a daemon could start with a configuration. Nothing is made or changed for that."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from monitor.audit_check import check_audits
from monitor.bootstrap import build
from monitor.daemon_settings import StoreSettings
from monitor.ladder_check import check_ladders
from monitor.settings import Settings
from monitor.stores.sqlite import will_be_made
from monitor.web.wire import check_certificate

__all__ = ["check_config"]


def check_config(settings: Settings) -> tuple[str, ...]:
    """Make the service, and look at all that its parts name. A store that is not there yet gets a stand-in.

    Returns:
        What should be known and stops nobody from watching.

    Raises:
        ConfigError: What a key names can't be used.
        PluginError: A plugin is missing or refuses its options.
        StoreError: The store can't be opened, or not be made.
    """
    with TemporaryDirectory(prefix="alignd-") as folder:
        stand_in = {"store": StoreSettings(url=f"sqlite:///{folder}/alignd.db")}
        service = build(settings.model_copy(update=stand_in) if will_be_made(settings.store.url) else settings)
        try:
            check_audits(service.audits)
        finally:
            service.store.close()
    if certificate := settings.listen.tls_certificate:
        check_certificate(certificate, settings.listen.tls_key)
    return check_ladders(settings)
