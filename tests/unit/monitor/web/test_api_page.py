"""The page of the API is made of its OpenAPI document; run as a module, it writes it anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monitor.hook_settings import HooksSettings
from monitor.web.access import Access
from monitor.web.app import make_app
from monitor.web.sessions import Sessions
from tests.fake_site import World

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "api.md"
_INTRODUCTION = """# The API's calls

Made by `python -m tests.unit.monitor.web.test_api_page` from the OpenAPI document, which the daemon serves at
`/api/v1/openapi.json`. How to call it: [the API](../howto/api.md); from pipelines:
[put it into your pipeline](../howto/pipelines.md).

| call | scope | what it does | answers | refuses with |
| --- | --- | --- | --- | --- |
"""


def document() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        service = World(folder=Path(folder)).service()
        access, sessions = Access(), Sessions(clock=service.clock, minutes=1)
        app = make_app(service, access=access, sessions=sessions, sweep=lambda _: None, hooks=HooksSettings())
        found: dict[str, Any] = app.openapi()
        asyncio.run(service.aclose())
    return found


def page() -> str:
    lines = []
    for path, methods in sorted(document()["paths"].items()):
        for method, call in sorted(methods.items()):
            scopes = ", ".join(call["security"][0]["token"]) or "any"
            taken = [s for s in call["responses"] if s < "400"]
            refused = [s for s in call["responses"] if s >= "400"]
            words = " ".join(call["description"].split())
            lines.append(
                f"| `{method.upper()} {path}` | {scopes} | {words} | {', '.join(taken)} | {', '.join(refused)} |"
            )
    return _INTRODUCTION + "\n".join(lines) + "\n"


def test_the_page_is_as_the_document_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.unit.monitor.web.test_api_page"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
