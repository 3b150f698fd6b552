"""What the API costs: it is made at its first call, and no part of a call goes to a thread."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from inspect import iscoroutinefunction
from pathlib import Path

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from monitor.hook_settings import HooksSettings
from monitor.web.access import Access
from monitor.web.app import make_app
from monitor.web.sessions import Sessions
from tests.fake_site import World

_LOADED = """
import sys, tempfile, pathlib
import monitor.daemon
watcher = set(sys.modules)
from tests.unit.monitor.web import test_app
test_app.routes(pathlib.Path(tempfile.mkdtemp()))
print("fastapi" in watcher, "fastapi" in sys.modules, "pydantic.v1" in sys.modules)
"""


def routes(folder: Path) -> list[APIRoute]:
    service = World(folder=folder).service()
    sessions = Sessions(clock=service.clock, minutes=1)
    app = make_app(service, access=Access(), sessions=sessions, sweep=lambda _: None, hooks=HooksSettings())
    service.store.close()
    return [route for route in app.routes if isinstance(route, APIRoute)]


def functions(asked: Dependant) -> Iterator[object]:
    yield asked.call
    for inner in asked.dependencies:
        yield from functions(inner)


def test_a_watcher_loads_no_fastapi_and_the_api_no_second_pydantic() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "False True False\n"


def test_no_part_of_a_call_goes_to_a_thread(tmp_path: Path) -> None:
    found = {each for route in routes(tmp_path) for each in functions(route.dependant)}
    assert found
    assert all(iscoroutinefunction(each) for each in found)
