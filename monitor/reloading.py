"""The configuration read again while the daemon runs: all of it, or nothing.

Parse, check, build, then swap. A fault anywhere leaves the configuration in force as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deploy.errors import DeployError
from monitor.bootstrap import sites_of
from monitor.errors import ConfigError, MonitorError
from monitor.ladder_check import check_ladders
from monitor.schedule import Rounds
from monitor.service import Service
from monitor.settings import Settings
from monitor.site import Site

__all__ = ["Reloader", "fixed_parts"]

log = logging.getLogger("alignd")

_MAY_CHANGE = frozenset({"targets", "signing", "transcripts"})
"""Parts of which targets are made; what else there is the daemon takes at its start."""


def fixed_parts(before: Settings, after: Settings) -> tuple[str, ...]:
    """Name the parts that differ and can't be changed while the daemon runs."""
    names = type(before).model_fields.keys() - _MAY_CHANGE
    return tuple(sorted(n for n in names if getattr(before, n) != getattr(after, n)))


@dataclass(slots=True)
class Reloader:
    """Puts a changed configuration in force.

    Attributes:
        settings: Those in force.
        read: Reads them anew.
        renew: Takes in what other files hold by now, as certificates; raises ``ConfigError`` where it can't be used.
    """

    service: Service
    rounds: Rounds
    settings: Settings
    read: Callable[[], Settings]
    renew: Callable[[], None] = lambda: None

    async def reload(self) -> bool:
        """Read the configuration and put it in force; whether that went well. Where it did not, it is logged why."""
        service = self.service
        try:
            changed = await self._put_in_force()
        except (DeployError, MonitorError, OSError) as error:
            service.configuration.refused = str(error)
            log.error("config_refused", extra={"why": str(error)})  # noqa: TRY400  (a person's mistake, not a fault)
            return False
        except Exception as error:
            service.configuration.refused = f"a fault of the daemon's own, see its log ({type(error).__name__})"
            raise
        service.configuration.refused = ""
        service.configuration.loaded_at = service.clock()
        log.info("config_reloaded", extra=changed)
        return True

    async def _put_in_force(self) -> dict[str, list[str]]:
        self.renew()  # first: a mistake in the configuration must not let a certificate run out
        after = await asyncio.to_thread(self.read)
        if fixed := fixed_parts(self.settings, after):
            raise ConfigError(
                f"{', '.join(fixed)}: changed, which takes a restart of the daemon; while it runs only "
                f"{', '.join(sorted(_MAY_CHANGE))} may change. Nothing was changed"
            )
        for warning in await asyncio.to_thread(check_ladders, after):
            log.warning("recipes_not_checked", extra={"why": warning})
        kept = self._kept(after)
        service = self.service
        sites = await asyncio.to_thread(sites_of, after, service.store, service.clock, service.spans, kept=kept)
        fresh = {name: site for name, site in sites.items() if name not in kept}
        before = set(self.service.sites)
        try:
            await self.service.take_in(fresh.values())
            await self.rounds.adopt(sites)
        except BaseException:
            for site in fresh.values():
                await site.aclose()
            raise
        self.settings = after
        return {
            "added": sorted(fresh.keys() - before), "changed": sorted(fresh.keys() & before),
            "removed": sorted(before - sites.keys()),
        }  # fmt: skip

    def _kept(self, after: Settings) -> Mapping[str, Site]:
        """Return the sites that stay as they are, connections and all."""
        shared = _MAY_CHANGE - {"targets"}
        if any(getattr(self.settings, n) != getattr(after, n) for n in shared):
            return {}
        same = {t.name for t in after.targets} & {t.name for t in self.settings.targets if t in after.targets}
        return {name: self.service.sites[name] for name in same}
