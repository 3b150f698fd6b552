"""The routes: a token, a body, one verb of ``Steering``; every answer is JSON."""

from __future__ import annotations

import hmac
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from alignd_vllm.errors import Reason, Refused
from alignd_vllm.steering import Steering

__all__ = ["TOKEN_HEADER", "Refusals", "routes"]

TOKEN_HEADER = "X-Alignd-Token"  # noqa: S105  (the header's name)
_BODY_BYTES_MAX = 64 << 10
_TEXT_CHARACTERS_MAX = 4096

log = logging.getLogger("vllm.alignd")

Body = dict[str, object]
Verb = Callable[[Steering, Body], Awaitable[dict[str, object]]]
Refusals = Counter[str]
"""How often calls were refused since the start, by reason."""


def routes(steering: Callable[[], Steering], token: Callable[[], str], refusals: Refusals) -> list[BaseRoute]:
    """Return the routes under ``/v1/alignd/``.

    Args:
        steering: Finds what they steer; it is there once the server's state is.
        token: Finds the admin token.
        refusals: Counts what is refused.
    """

    def route(name: str, method: str, verb: Verb) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                _require_token(request.headers.get(TOKEN_HEADER, ""), token())
                body = await _body(request) if method == "POST" else {}
                return JSONResponse(await verb(steering(), body))
            except Refused as error:
                refusals[error.reason] += 1
                log.warning("alignd_refused %s: %s: %s", name, error.reason.value, error)
                return JSONResponse({"error": error.reason.value, "message": str(error)}, status_code=error.status)

        return Route(f"/v1/alignd/{name}", endpoint, methods=[method])

    async def state(steers: Steering, _: Body) -> dict[str, object]:
        return {**steers.state(), "refusals": dict(refusals)}

    return [
        route("state", "GET", state),
        route("claim", "POST", _claim),
        route("stage", "POST", _stage),
        route("activate", "POST", _activate),
        route("rollback", "POST", _rollback),
        route("retire", "POST", _retire),
    ]


def _require_token(given: str, token: str) -> None:
    if not token or not hmac.compare_digest(given.encode(), token.encode()):
        raise Refused(Reason.TOKEN, f"wrong or missing {TOKEN_HEADER}; it is in the plugin's admin-token file")


async def _claim(steering: Steering, body: Body) -> dict[str, object]:
    return await steering.claim(_text(body, "holder"))


async def _stage(steering: Steering, body: Body) -> dict[str, object]:
    return await steering.stage(
        _text(body, "release"), path=_text(body, "path"), sha256=_text(body, "sha256"), fence=_fence(body)
    )


async def _activate(steering: Steering, body: Body) -> dict[str, object]:
    base = body.get("release") == steering.state()["base"]
    return await steering.activate(
        _text(body, "release"),
        path="" if base else _text(body, "path"),
        sha256="" if base else _text(body, "sha256"),
        fence=_fence(body),
        expect=None if body.get("expect") is None else _text(body, "expect", empty=True),
    )


async def _rollback(steering: Steering, body: Body) -> dict[str, object]:
    return await steering.rollback(fence=_fence(body), expect=_text(body, "expect", empty=True))


async def _retire(steering: Steering, body: Body) -> dict[str, object]:
    return await steering.retire(_text(body, "release", empty=True), fence=_fence(body))


async def _body(request: Request) -> Body:
    read = b""
    async for part in request.stream():
        read += part
        if len(read) > _BODY_BYTES_MAX:
            raise Refused(Reason.REQUEST, f"the body is larger than {_BODY_BYTES_MAX} bytes")
    try:
        said = json.loads(read)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.REQUEST, "the body is no JSON; send an object") from error
    if not isinstance(said, dict):
        raise Refused(Reason.REQUEST, "the body is no JSON object")
    return said


def _text(body: Body, key: str, *, empty: bool = False) -> str:
    said = body.get(key)
    if not isinstance(said, str) or not (said or empty) or len(said) > _TEXT_CHARACTERS_MAX or not said.isprintable():
        raise Refused(Reason.REQUEST, f"send {key} as a printable text")
    return said


def _fence(body: Body) -> int:
    said = body.get("fence")
    if not isinstance(said, int) or isinstance(said, bool) or said < 0:
        raise Refused(Reason.REQUEST, "send fence: the number that claim answered with")
    return said
