"""The entry point: what vLLM loads where ``VLLM_PLUGINS`` names ``alignd``.

Nothing of vLLM is imported before the server runs: an import error here would only be logged by vLLM, and the server
would start without the plugin.
"""

from __future__ import annotations

import logging
import math
import os
import time
from argparse import Namespace
from asyncio import timeout
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from alignd_vllm.cpu_lora import mended
from alignd_vllm.errors import Reason, Refused, StartError
from alignd_vllm.folder import read_manifest, verify
from alignd_vllm.metrics import export
from alignd_vllm.names import Names
from alignd_vllm.record import admin_token, lock_folder
from alignd_vllm.routes import Refusals, routes
from alignd_vllm.server import Limits
from alignd_vllm.steering import Steering
from alignd_vllm.versions import TESTED, tested

__all__ = ["AligndPlugin", "VllmServer", "require_version", "without_prompt_logprobs"]

log = logging.getLogger("vllm.alignd")

_ANSWER_SECONDS = 60.0
_URGENT = -1_000_000


class AligndPlugin:
    """Adds the routes, and steers the public name. One for a server, one server process for a replica."""

    name = "alignd"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        """Begin without a server."""
        self._steering: Steering | None = None
        self._token = ""
        self._refusals = Refusals()
        self._lock = -1

    def attach_router(self, app: Any) -> None:  # noqa: ANN401  (a FastAPI, which this distribution does not import)
        """Add the routes; refuses a vLLM that it was not tested with.

        Raises:
            StartError: It is another version.
        """
        import vllm

        require_version(vllm.__version__)
        app.router.routes.extend(routes(self._steers, lambda: self._token, self._refusals))

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:  # noqa: ANN401  (vLLM's own)
        """Take over the table of names and load what is to be served; the server listens only after this.

        Raises:
            StartError: The server was started in a way that can't be steered safely.
        """
        import vllm
        from vllm.exceptions import VLLMValidationError
        from vllm.platforms import current_platform

        require_version(vllm.__version__)
        releases, folder, token = _folders(os.environ)
        server = VllmServer(engine_client, state, args, version=vllm.__version__)
        _require_release(Path(args.model), server.base, os.environ)
        self._lock = lock_folder(folder)
        self._token = admin_token(token)
        if current_platform.is_cpu():
            _require_mended()
            refusal = partial(VLLMValidationError, parameter="prompt_logprobs")
            engine_client.generate = without_prompt_logprobs(engine_client.generate, self._refusals, refusal)
        models = state.openai_serving_models
        names = Names(models.lora_requests, public=server.public)
        steering = Steering(
            server=server, names=names, releases=releases, state=folder, clock=lambda: datetime.now(UTC)
        )
        models.lora_requests = names
        await steering.start()
        self._steering = steering
        export(steering, self._refusals)

    def _steers(self) -> Steering:
        if self._steering is None:
            raise Refused(Reason.STAGE, "the server is starting; ask again")
        return self._steering


class VllmServer:
    """The server that the plugin runs in, through its own handlers."""

    def __init__(self, engine: Any, state: Any, args: Namespace, *, version: str) -> None:  # noqa: ANN401  (vLLM's own)
        """Take vLLM's engine client, the application's state and the command line.

        Raises:
            StartError: An option is missing, or one lets requests past the steering.
        """
        served = args.served_model_name or [args.model]
        config, processes = engine.vllm_config.lora_config, engine.vllm_config.parallel_config._api_process_count  # noqa: SLF001
        faults = {
            "LoRA is off; start vLLM with --enable-lora --max-loras 2": config is None,
            "--max-loras is 1; start vLLM with --max-loras 2 or more, so that two releases can answer side by side":
                config is not None and config.max_loras < 2,
            "--served-model-name must give the base's release id first and the public name after it, like "
            "`--served-model-name prod@0123456789ab prod`": len(served) < 2 or "@" not in served[0],
            "several API server processes share no table of names; start vLLM with --api-server-count 1": processes > 1,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING opens /adapters to everybody; unset it, the plugin does not need it":
                _on("VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
            "VLLM_SKIP_MODEL_NAME_VALIDATION lets any name reach the base model; unset it":
                _on("VLLM_SKIP_MODEL_NAME_VALIDATION"),
        }  # fmt: skip
        if wrong := next((why for why, holds in faults.items() if holds), ""):
            raise StartError(f"alignd: {wrong}")
        self.base, self.public = str(served[0]), tuple(str(n) for n in served[1:])
        self.version = version
        self.limits = Limits(lora_rank_max=config.max_lora_rank, loras_max=config.max_loras)
        self._engine, self._state = engine, state
        self._priority = _URGENT if engine.vllm_config.scheduler_config.policy == "priority" else 0

    async def load(self, release: str, path: str) -> object:
        """Load an adapter through vLLM's own table; an adapter that vLLM refuses leaves nothing in it."""
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        models = self._state.openai_serving_models
        said = await models.load_lora_adapter(LoadLoRAAdapterRequest(lora_name=release, lora_path=path))
        if isinstance(said, str):
            return models.lora_requests[release]
        raise Refused(Reason.STAGE, f"release {release}: vLLM does not load it ({said.error.message})")

    async def unload(self, release: str, adapter: object) -> None:
        """Give an adapter's memory back."""
        del release
        await self._engine.remove_lora(adapter.lora_int_id)  # type: ignore[attr-defined]

    async def answer_one(self, release: str) -> None:
        """Answer one token through the handler of ``/v1/completions``, as a user's request would be.

        Raises:
            Refused: No answer in time, one of another name, or one without a finite log-probability.
        """
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest

        asked = CompletionRequest(
            model=release, prompt="Hello", max_tokens=1, temperature=0, logprobs=1, priority=self._priority,
            cache_salt=f"alignd-{time.time_ns()}",
        )  # fmt: skip
        try:
            async with timeout(_ANSWER_SECONDS):
                said = await self._state.openai_serving_completion.create_completion(asked)
        except TimeoutError:
            raise Refused(Reason.STAGE, f"release {release}: no token in {_ANSWER_SECONDS:g} s; ask again") from None
        except (ValueError, TypeError, RuntimeError) as error:
            raise Refused(Reason.STAGE, f"release {release}: fails its self-test ({error})") from error
        if not hasattr(said, "choices"):
            raise Refused(Reason.STAGE, f"release {release}: fails its self-test ({said.error.message})")
        chosen = said.choices[0].logprobs.token_logprobs
        if said.model != release or not chosen or not all(p is not None and math.isfinite(p) for p in chosen):
            raise Refused(Reason.STAGE, f"release {release}: its weights give no finite probability (as {said.model})")

    def in_flight(self, release: str) -> int:
        """Count the engine's requests of an adapter."""
        states = self._engine.output_processor.request_states.values()
        return sum(1 for s in states if s.lora_name == release)


def require_version(version: str) -> None:
    """Refuse a vLLM that the plugin was not tested with.

    Raises:
        StartError: It is another version.
    """
    if not tested(version):
        raise StartError(
            f"alignd: this is vLLM {version}, the plugin was tested with {', '.join(TESTED)}; install one of "
            "these, or a newer alignd-vllm"
        )


def without_prompt_logprobs(
    generate: Callable[..., Any], refusals: Refusals, refusal: Callable[[str], Exception]
) -> Callable[..., Any]:
    """Return the engine's ``generate`` for who asks no log-probabilities of the prompt.

    On a CPU with LoRA, vLLM 0.32 computes them with the wrong table of rows as soon as anything else is in flight
    (``punica_cpu.add_lora_logits`` takes one row a sequence): the engine ends, and every user's request with it.

    Args:
        refusal: Makes the error that vLLM answers with status 400.
    """

    def guarded(prompt: Any, sampling_params: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401  (vLLM's own)
        if getattr(sampling_params, "prompt_logprobs", None) is None:
            return generate(prompt, sampling_params, *args, **more)
        refusals[Reason.ENGINE] += 1
        log.warning("alignd_refused prompt_logprobs: %s", Reason.ENGINE.value)
        raise refusal(
            "log-probabilities of the prompt (prompt_logprobs, or echo with logprobs) end this server's engine: vLLM's "
            "LoRA on a CPU can't give them; ask for those of the answer (logprobs)"
        )

    return guarded


def _require_mended() -> None:
    """The engine's processes load the mend as this one does: by the name of the installed distribution."""
    from vllm.lora.punica_wrapper import punica_cpu

    if not mended(punica_cpu.bgmv_shrink):
        raise StartError("alignd: vLLM's LoRA on a CPU is not mended; install alignd-vllm again, its metadata is old")


def _folders(environment: Any) -> tuple[Path, Path, Path]:  # noqa: ANN401  (os.environ)
    found = [Path(environment.get(key, "")) for key in ("ALIGND_VLLM_RELEASES", "ALIGND_VLLM_STATE")]
    releases, folder = found
    if not releases.is_absolute() or not releases.is_dir():
        raise StartError("alignd: set ALIGND_VLLM_RELEASES to the absolute path of the release store")
    if not folder.is_absolute():
        raise StartError("alignd: set ALIGND_VLLM_STATE to the absolute path of a folder for this server's own state")
    return releases, folder, Path(environment.get("ALIGND_VLLM_TOKEN_FILE") or folder / "admin-token")


def _require_release(model: Path, base: str, environment: Any) -> None:  # noqa: ANN401  (os.environ)
    """The base must be the release that its served name says, byte for byte."""
    try:
        manifest = read_manifest(model)
        if environment.get("ALIGND_VLLM_TRUST_BASE", "") != "1":
            verify(model, release=base, sha256=manifest.digest)
    except Refused as error:
        raise StartError(f"alignd: --model is not the release {base}: {error}") from error
    if manifest.id != base:
        raise StartError(f"alignd: --model {model} is release {manifest.id}, --served-model-name says {base}; mend one")


def _on(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in {"1", "true"}
