"""Starts vLLM so that its weights can be changed in place: ``python -m deploy.vllm.reload_server``.

It serves the release that was put into service last, checks its files before, shuts the dev-mode routes behind a token
(``deploy.vllm.hold``) and listens on loopback; users reach it through a proxy, see ``docs/howto/harden.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.checkpoint import Release, find_release, verify_release
from deploy.errors import DeployError, StageError
from deploy.vllm.admin import admin_token
from deploy.vllm.child import ChildCommand
from deploy.vllm.dtype import this_dtype
from deploy.vllm.hold import TOKEN_FILE
from deploy.vllm.reload_journal import desired_release, write_desired

__all__ = ["TOKEN", "main", "reload_command", "server_environment"]

TOKEN = "admin-token"  # noqa: S105 - a file's name
"""Name of the token's file in the state folder."""


def server_environment(token_file: Path) -> Mapping[str, str]:
    """Return what the server needs in its environment; never the run-time LoRA switch."""
    return {"VLLM_SERVER_DEV_MODE": "1", TOKEN_FILE: str(token_file.resolve())}


def reload_command(*, name: str, dtype: str, token_file: Path, more: Sequence[str] = ()) -> ChildCommand:
    """Return the command maker for a server whose weights can be changed in place.

    Args:
        name: Served model name.
        dtype: What it computes in.
        token_file: Token of the dev-mode routes.
        more: Further arguments of vLLM.
    """
    environment = [f"{k}={v}" for k, v in server_environment(token_file).items()]

    def command(release: Release, port: int) -> Sequence[str]:
        # Ours stand last, for of two the last counts: nobody opens the door from inside by an argument of vLLM's.
        return (
            "/usr/bin/env", *environment, sys.executable, "-m", "vllm.entrypoints.openai.api_server",
            "--enforce-eager", "--shutdown-timeout", "30", "--scheduling-policy", "priority", *more,
            "--host", "127.0.0.1", "--port", str(port), "--model", str(release.path), "--served-model-name", name,
            "--dtype", dtype, "--fingerprint-mode", "custom", "--fingerprint-value", release.id,
            "--middleware", "deploy.vllm.hold.Hold",
            "--worker-extension-cls", "deploy.vllm.reload_worker.ReloadWorker",
        )  # fmt: skip

    return command


def main() -> None:
    """Become the server of the desired release."""
    parser = argparse.ArgumentParser(
        description="Serve a release with vLLM; its weights can be changed in place. Further arguments are vLLM's."
    )
    parser.add_argument("--releases", type=Path, required=True, help="release store")
    parser.add_argument("--state", type=Path, required=True, help="folder for desired state, journal and token")
    parser.add_argument("--name", required=True, help="served model name")
    parser.add_argument("--port", type=int, default=8000, help="loopback port")
    parser.add_argument("--dtype", default="", help="vLLM's --dtype; empty: what this machine serves fastest")
    parser.add_argument("--first", default="", help="release to serve where none was put into service yet")
    given, more = parser.parse_known_args()
    try:
        words = _words(given, more)
    except (DeployError, OSError) as error:
        print(f"alignd: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    os.execv(words[0], list(words))  # noqa: S606 - the server takes this process' place, and its signals


def _words(given: argparse.Namespace, more: Sequence[str]) -> Sequence[str]:
    given.state.mkdir(parents=True, exist_ok=True)
    admin_token(given.state)
    wanted = desired_release(given.state) or given.first
    if not wanted:
        raise StageError("no release was put into service yet; give --first RELEASE")
    release = find_release(given.releases, wanted)
    verify_release(release)
    write_desired(given.state, release.id)
    command = reload_command(
        name=given.name, dtype=given.dtype or this_dtype(), token_file=given.state / TOKEN, more=more
    )
    return command(release, given.port)


if __name__ == "__main__":
    main()
