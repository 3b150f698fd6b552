"""The page for people: static files of this package. The guard adds the headers that keep a browser from being misused.

Scripts and styles stand under a digest of them all, so that a browser keeps them and never mixes two versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["page_routes"]

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_VIEWS = ("/", *(f"/{of}{view}" for of in ("targets/{name}", "incidents/{id}") for view in ("", "/transcripts")))


def page_routes(opened: Callable[[], object]) -> list[Route]:
    """Return the routes of the page and of what it is made of; the files are read once.

    Args:
        opened: Told each time that somebody asks for the page itself.
    """
    assets = _assets()
    digest = _digest(b"".join(name.encode() + assets[name] for name in sorted(assets)))
    page = _index(digest, assets)
    tag = f'"{_digest(page)}"'

    async def index(request: Request) -> Response:
        opened()
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(page, media_type="text/html", headers=headers)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if request.path_params["digest"] != digest or name not in assets:
            return Response("not found", status_code=404, media_type="text/plain")
        lasting = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(assets[name], media_type=_TYPES[PurePath(name).suffix], headers=lasting)

    return [*(Route(path, index) for path in _VIEWS), Route("/static/{digest}/{name}", asset)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _assets() -> dict[str, bytes]:
    folder = files("monitor.web") / "static"
    return {f.name: f.read_bytes() for f in folder.iterdir() if PurePath(f.name).suffix in _TYPES}


def _index(digest: str, assets: Mapping[str, bytes]) -> bytes:
    """Fill in the digest, and have all modules fetched at once instead of one after the other."""
    modules = sorted(name for name in assets if name.endswith(".js") and name not in {"theme.js", "app.js"})
    preloads = "\n".join(f'<link rel="modulepreload" href="/static/@DIGEST@/{name}">' for name in modules)
    page = (files("monitor.web") / "static" / "index.html").read_text(encoding="utf-8")
    return page.replace("@PRELOADS@", preloads).replace("@DIGEST@", digest).encode()
