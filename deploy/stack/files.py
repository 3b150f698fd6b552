"""Writes the files of a host, filled in: proxies with the allow-list of the supervisor's own front, and monitoring."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from deploy.errors import StageError
from deploy.stack.grafana.boards import BOARDS
from deploy.stack.grafana.panels import to_json
from deploy.stack.slo import Cadence, slo_rules
from deploy.vllm.front import ALLOWED, BODY_BYTES_MAX, RETRY_AFTER_SECONDS

__all__ = ["FILES", "StackValues", "render", "write_stack"]

FILES = (
    "haproxy.cfg", "nginx.conf", "litellm.yaml", "alignd.service", "alignd-serve.service", "alignd-haproxy.service",
    "prometheus/prometheus.yml", "prometheus/rules/alignd.yml", "prometheus/rules/alignd-slo.yml",
    "alertmanager/alertmanager.yml", *(f"grafana/dashboards/{board.uid}.json" for board in BOARDS),
    "grafana/provisioning/datasources/alignd.yml", "grafana/provisioning/dashboards/alignd.yml",
    "Containerfile", "compose.yaml",
)  # fmt: skip
_SLOTS = ("blue", "green", "amber")
"""One serves, one is kept warm, and one is free for the next release while the other two have requests in flight."""
_PORT_MAX = 65535
_UPSTREAM = "127.0.0.1:8100"
"""Where nginx and LiteLLM, which nobody steers, look for vLLM if nothing is said."""
_PLAIN = re.compile(r"[A-Za-z0-9._:/@\[\]-]+")
"""What may stand in a configuration file without a word on quoting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackValues:
    """What differs from host to host.

    Attributes:
        name: Public model name.
        host: Address that users reach.
        port: Port that users reach.
        upstream: ``host:port`` of one vLLM server that stays; empty where ``alignd serve`` runs the servers.
        adapter: Model name that LiteLLM puts in place of the public one, e.g. ``prod@0123456789ab``.
        socket: HAProxy's admin socket.
        figures_port: Loopback port of HAProxy's own metrics.
        program: The ``alignd`` to run.
        config: The daemon's configuration file.
        releases: Release store.
        state: The supervisor's state folder.
        user: Account that runs all of it.
        daemon: ``host:port`` of the daemon's metrics.
        cadences: How often which targets are probed; the safety SLO's windows are made of it.
        runbooks: URL that ``docs/runbooks`` is published under.
        page_url: Web hook that Alertmanager sends pages to.
        ticket_url: Web hook that it sends tickets to.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 8000
    upstream: str = ""
    adapter: str = ""
    socket: Path = Path("/run/alignd-haproxy/admin.sock")
    figures_port: int = 8404
    program: Path = Path("/opt/alignd/bin/alignd")
    config: Path = Path("/etc/alignd/alignd.yaml")
    releases: Path = Path("/var/lib/alignd/releases")
    state: Path = Path("/var/lib/alignd/serve")
    user: str = "alignd"
    daemon: str = "127.0.0.1:9464"
    cadences: tuple[Cadence, ...] = (Cadence(),)
    runbooks: str = "docs/runbooks"
    page_url: str = "http://127.0.0.1:9/page"
    ticket_url: str = "http://127.0.0.1:9/ticket"


def write_stack(folder: Path, values: StackValues) -> tuple[Path, ...]:
    """Write every file into a folder; what stands there is left alone.

    Raises:
        StageError: A value can't stand in such a file, a file is there already, or the folder can't be written.
    """
    texts = {name: render(name, values) for name in FILES}
    if there := [name for name in FILES if (folder / name).exists()]:
        raise StageError(f"{folder / there[0]} is there already; give another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StageError(f"{folder} can't be written ({error.strerror or error}); give another folder") from error
    return tuple(folder / name for name in FILES)


def render(name: str, values: StackValues) -> str:
    """Return the text of one of ``FILES``.

    Raises:
        StageError: A value can't stand in it.
    """
    words, made = _words(values), _made(values)
    if name in made:
        return made[name]()
    text = files("deploy.stack").joinpath(name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _made(values: StackValues) -> dict[str, Callable[[], str]]:
    """Return what makes the files that are written by code."""
    boards = {
        f"grafana/dashboards/{board.uid}.json": partial(to_json, board, values.runbooks) for board in BOARDS
    }  # fmt: skip
    return {"prometheus/rules/alignd-slo.yml": partial(slo_rules, values.cadences, values.runbooks), **boards}


def _words(values: StackValues) -> dict[str, str]:
    host = f"[{values.host}]" if ":" in values.host.strip("[]") and values.host[:1] != "[" else values.host
    upstream = values.upstream or _UPSTREAM
    _require_ports(host, upstream, values)
    given = {
        "NAME": values.name, "HOST": host, "PORT": str(values.port), "SOCKET": str(values.socket),
        "SERVERS_FILE": str(values.socket.with_name("servers")), "RUN": str(values.socket.parent),
        "FIGURES_PORT": str(values.figures_port), "PROGRAM": str(values.program), "CONFIG": str(values.config),
        "RELEASES": str(values.releases), "STATE": str(values.state), "USER": values.user,
        "UPSTREAM": upstream, "ADAPTER": values.adapter or values.name, "DAEMON": values.daemon,
        "RUNBOOKS": values.runbooks, "PAGE_URL": values.page_url, "TICKET_URL": values.ticket_url,
    }  # fmt: skip
    for word, value in given.items():
        if not _PLAIN.fullmatch(value):
            raise StageError(f"{word.lower()} {value!r}: use letters, digits and . _ : / @ - only")
    return given | {
        "BODY_BYTES": str(BODY_BYTES_MAX),
        "RETRY_AFTER": str(RETRY_AFTER_SECONDS),
        "ROUTES": _haproxy_routes(),
        "SERVERS": _haproxy_servers(values.upstream),
        "REQUEST_LINES": _nginx_routes(),
    }


def _require_ports(host: str, upstream: str, values: StackValues) -> None:
    for word, port in (("port", values.port), ("figures_port", values.figures_port)):
        if not 0 < port <= _PORT_MAX:
            raise StageError(f"{word} {port}: give one from 1 to {_PORT_MAX}")
    address, _, port_of = upstream.rpartition(":")
    if not address or not port_of.isdecimal() or not 0 < int(port_of) <= _PORT_MAX:
        raise StageError(f"upstream {upstream!r}: write it like 127.0.0.1:8100 or [::1]:8100")
    if upstream == f"{host}:{values.port}":
        raise StageError(f"upstream {upstream} is where users come in; give vLLM another port")


def _paths(method: str) -> list[str]:
    return [path for path, its in ALLOWED.items() if its == method]


def _haproxy_routes() -> str:
    # Lines of one name are alternatives, conditions of one rule must all hold: methods and paths have two names.
    return "\n".join(
        f"    acl {method.lower()} method {method}\n"
        f"    acl {method.lower()}_path path -m str {' '.join(_paths(method))}"
        for method in ("GET", "POST")
    )  # fmt: skip


def _haproxy_servers(upstream: str) -> str:
    if upstream:
        return f"    server only {upstream}"
    # Out of service until the supervisor says where each leads.
    return "\n".join(f"    server {name} 127.0.0.1:9 disabled" for name in _SLOTS)


def _nginx_routes() -> str:
    return "\n".join(
        rf'    "~^{method} {re.escape(path)}(\?[^ ]*)? HTTP/1\.[01]$" 0;' for path, method in ALLOWED.items()
    )
