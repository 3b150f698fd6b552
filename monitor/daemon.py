"""The daemon: takes the store, watches, serves metrics, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from monitor import __version__
from monitor.api import make_api
from monitor.audit import DAEMON, AuditEntry
from monitor.audit_check import check_audits
from monitor.bootstrap import build
from monitor.daemon_settings import ListenSettings
from monitor.errors import ConfigError, StoreUnavailable
from monitor.guard import Guard
from monitor.ladder_check import check_ladders
from monitor.reloading import Reloader
from monitor.schedule import Rounds
from monitor.service import Service
from monitor.settings import Settings, digest_of
from monitor.web.access import Access
from monitor.web.calls import CallBook
from monitor.web.wire import make_server, renew_certificate

__all__ = ["JsonLines", "log_to_stderr", "run"]

log = logging.getLogger("alignd")

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line; ``action`` is stable API. Prompts and completions never get here."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record's action and fields."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        ours = record.name == log.name
        line = {"at": at, "level": record.levelname.lower(), "action": record.getMessage() if ours else "library"}
        if not ours:
            line |= {"library": record.name, "message": record.getMessage()}
        line |= {k: v for k, v in record.__dict__.items() if k not in _PLAIN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr() -> None:
    """Send the program's own log to standard error as JSON lines; others' only from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)


async def run(settings: Settings, *, read: Callable[[], Settings], hung_up: asyncio.Event) -> None:
    """Watch until SIGTERM or SIGINT; a step on its way is cancelled and done anew at the next start.

    Args:
        settings: The configuration.
        read: Reads it anew, at each SIGHUP.
        hung_up: Set where a SIGHUP came while the daemon was still starting.

    Raises:
        StoreBusy: Another daemon runs on the store, or took it over meanwhile.
        ConfigError: A last known good release is not there, a recipe refuses its options, what audits need
            can't be used, or the port is taken.
    """
    service = build(settings, hold=True)
    try:
        for warning in await asyncio.to_thread(check_ladders, settings):
            log.warning("recipes_not_checked", extra={"why": warning})
        await asyncio.to_thread(check_audits, service.audits)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, stop.set)
        loop.add_signal_handler(signal.SIGHUP, hung_up.set)
        listener = _listen(settings.listen)
        await service.prepare()
        guard = Guard(stop)
        rounds = Rounds(service, guard)
        access = Access.of(settings.api, settings.listen, settings.hooks)
        record = CallBook(service.store, clock=service.clock)
        api = make_api(
            service, healthy=rounds.healthy, access=access, hooks=settings.hooks, sweep=rounds.sweep_now, record=record
        )
        server = make_server(
            api, record=record, certificate=settings.listen.tls_certificate, key=settings.listen.tls_key
        )
        serving = asyncio.create_task(server._serve(sockets=[listener]))  # noqa: SLF001  (signals are ours)
        rounds.start()
        _put_down(service, "daemon_started", {"version": __version__, "settings": digest_of(settings)})
        reloader = Reloader(service, rounds, settings, read, partial(renew_certificate, server))
        reloading = asyncio.create_task(_reload_on_hangup(reloader, guard, hung_up))
        where = f"{settings.listen.host}:{settings.listen.port}"
        log.info("started", extra={"version": __version__, "listen": where, "targets": list(service.sites)})
        await stop.wait()
        log.info("draining")
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
        server.should_exit = True
        await rounds.stop()
        await asyncio.gather(serving, return_exceptions=True)
        if guard.lost:
            raise guard.lost
        with suppress(StoreUnavailable):
            _put_down(service, "daemon_stopped", {})
    finally:
        await service.aclose()
    log.info("stopped")


def _put_down(service: Service, action: str, details: Mapping[str, str]) -> None:
    service.store.append_audit(
        AuditEntry(at=service.clock(), actor=DAEMON, action=action, subject=DAEMON, details=details)
    )


async def _reload_on_hangup(reloader: Reloader, guard: Guard, hung_up: asyncio.Event) -> None:
    """Reload at each SIGHUP; those that come meanwhile are one more."""
    while True:
        await hung_up.wait()
        hung_up.clear()

        async def reload() -> None:
            if await reloader.reload():
                _put_down(reloader.service, "config_reloaded", {"settings": digest_of(reloader.settings)})

        await guard("reload", "configuration", reload())


def _listen(listen: ListenSettings) -> socket.socket:
    try:
        return socket.create_server((listen.host, listen.port))
    except OSError as error:
        raise ConfigError(
            f"listen: {listen.host}:{listen.port} can't be taken ({error.strerror}); set listen.port to a free one"
        ) from error
