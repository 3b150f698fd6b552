"""The deployer of the supervisor against what should not answer in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.errors import DeployerUnavailable
from deploy.vllm.process import Options, VllmProcessDeployer

TOKEN = "t" * 40


@contextmanager
def answering(body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that says one thing to everybody; gives its address and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:  # type: ignore[override]
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def deployer(folder: Path, url: str) -> VllmProcessDeployer:
    token = folder / "admin-token"
    token.write_text(TOKEN)
    return VllmProcessDeployer(Options(admin_url=url, token_file=token))


async def test_the_token_never_goes_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"{}") as (proxy, seen), answering(b'{"active": "", "up": []}') as (url, asked):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        assert (await deployer(tmp_path, url).state()).active == ""
        assert (seen, asked) == ([], ["/state"])


@pytest.mark.parametrize("body", [b'{"x": 1}', b'{"active": 1, "up": 3}', b'{"active": "a", "up": [{"y": 1}]}', b"[1]"])
async def test_what_no_supervisor_says_is_no_state(tmp_path: Path, body: bytes) -> None:
    with answering(body) as (url, _):
        one = deployer(tmp_path, url)
        for call in (one.state, one.record, one.roll_back):
            with pytest.raises(DeployerUnavailable, match=f"supervisor at {url}"):
                await call()


async def test_a_token_that_can_not_be_read_is_said_so(tmp_path: Path) -> None:
    one = deployer(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "admin-token").unlink()
    (tmp_path / "admin-token").mkdir()
    with pytest.raises(DeployerUnavailable, match=r"no readable token at .*; start `alignd serve`"):
        await one.state()
