"""``alignd``: parse, call one verb of the service, render."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from deploy.errors import DeployError, DeployerUnavailable, StoreInUse
from monitor.commands import (
    audit,
    breaker,
    epoch,
    incidents,
    judge,
    notify,
    quarantine,
    releases,
    store,
    subspace,
    suites,
    transcripts,
)
from monitor.commands.deploy import deploy
from monitor.commands.explain import explain
from monitor.commands.pause import pause, resume
from monitor.commands.plan import plan
from monitor.commands.probe import probe
from monitor.commands.reproduce import reproduce
from monitor.commands.simulate import simulate
from monitor.commands.stack import stack
from monitor.commands.token import app as token_app
from monitor.commands.version import root, version
from monitor.errors import (
    ConfigError,
    MonitorError,
    NotMeasured,
    OpenIncident,
    PluginError,
    StoreBusy,
    StoreUnavailable,
    UnknownIncident,
)
from monitor.policy import Mode
from monitor.settings import load_settings
from monitor.target_settings import faults_of_folders
from probes.errors import MixedReleaseError, RecordError, RecordLost, SuiteError, TargetError
from remediation.patch import Form

__all__ = ["app", "main"]

CRASH, USAGE, BREACH, UNAVAILABLE, NOT_ENOUGH = 1, 2, 3, 4, 5
"""Exit codes beside 0; 4 and 5 never look like 0."""

app = typer.Typer(
    name="alignd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback()(root)
config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(suites.app, name="suites")
app.add_typer(transcripts.app, name="transcripts")
app.add_typer(judge.app, name="judge")
app.add_typer(epoch.app, name="epoch")
app.add_typer(subspace.app, name="subspace")
app.add_typer(releases.app, name="releases")
app.add_typer(store.app, name="store")
app.add_typer(notify.app, name="notify")
app.add_typer(audit.app, name="audit")
app.add_typer(token_app, name="token")
app.add_typer(breaker.app, name="breaker")
app.add_typer(quarantine.app, name="quarantine")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
_CONFIG = Path("alignd.yaml")
_FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

console = Console()


def main() -> None:
    """Run the command line; an expected error is one line and an exit code."""
    try:
        _check_words(sys.argv[1:])
        app()
    except (ConfigError, PluginError, StoreBusy, UnknownIncident) as error:
        _fail(str(error), USAGE)
    except (DeployerUnavailable, OpenIncident, StoreInUse, StoreUnavailable, TargetError) as error:
        _fail(str(error), UNAVAILABLE)
    except (MixedReleaseError, NotMeasured) as error:
        _fail(str(error), NOT_ENOUGH)
    except RecordLost as error:
        _fail(str(error), CRASH)
    except (RecordError, SuiteError) as error:
        _fail(str(error), USAGE)
    except (MonitorError, DeployError) as error:
        _fail(str(error), CRASH)


def _check_words(words: Sequence[str]) -> None:
    """Refuse what can't be printed or kept: bytes that are not UTF-8 come as half surrogates."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"argument {word!r} is not UTF-8") from None


def _fail(message: str, code: int) -> NoReturn:
    print(f"alignd: {message}", file=sys.stderr)
    raise SystemExit(code)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = _CONFIG,
    *,
    endpoint: Annotated[str, typer.Option(help="OpenAI-compatible base URL.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="Served model name.")] = "my-model",
    checkpoint: Annotated[Path, typer.Option(help="Folder of the served checkpoint.")] = Path("checkpoint"),
    name: Annotated[str, typer.Option(help="Name of the target.")] = "prod",
) -> None:
    """Write a commented configuration; mode is observe, so nothing that is served changes."""
    text = files("monitor").joinpath("alignd.example.yaml").read_text(encoding="utf-8")
    values = {"KEY": secrets.token_hex(16), "NAME": name, "ENDPOINT": endpoint, "MODEL": model,
              "CHECKPOINT": str(checkpoint)}  # fmt: skip
    for word, value in values.items():
        text = text.replace(f"@{word}@", json.dumps(value))
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; give another name") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error.strerror})") from error
    with os.fdopen(opened, "w", encoding="utf-8") as out:
        out.write(text)
    console.print(f"wrote {path}; look it over, then `alignd probe` and `alignd run`", highlight=False)


@config_app.command("check")
def config_check(config: ConfigFile = _CONFIG) -> None:
    """Say whether the configuration can be used, plugins included."""
    settings = load_settings(config)
    for warning in importlib.import_module("monitor.config_check").check_config(settings):
        print(f"alignd: {config}: {warning}", file=sys.stderr)
    use = ""
    for target in settings.targets:
        for fault in faults_of_folders(target, settings.releases):
            if target.mode is not Mode.OBSERVE:
                raise ConfigError(f"{config}: {fault}")
            print(f"alignd: {config}: {fault}", file=sys.stderr)
            use = " to watch with, and not yet to repair with"
    print(f"{config} is fine{use}: {', '.join(f'{t.name} ({t.mode.value})' for t in settings.targets)}")


@config_app.command("show")
def config_show(config: ConfigFile = _CONFIG) -> None:
    """Print the configuration with all defaults; secrets are masked."""
    console.print_json(load_settings(config).model_dump_json())


@app.command()
def run(config: ConfigFile = _CONFIG) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    hung_up = asyncio.Event()
    signal.signal(signal.SIGHUP, lambda *_: hung_up.set())  # what changes from here on is read when the daemon is up
    settings = load_settings(config)
    settings.stretch_keys()  # before anything else takes memory: it needs 16 MB for a moment, which make the peak
    daemon = importlib.import_module("monitor.daemon")
    daemon.log_to_stderr()
    asyncio.run(daemon.run(settings, read=lambda: load_settings(config), hung_up=hung_up))


app.command()(probe)
app.command()(pause)
app.command()(resume)
app.command()(reproduce)
app.command()(simulate)
app.command()(explain)
app.command()(plan)
app.command()(deploy)
app.command()(stack)
app.command()(version)


app.command()(incidents.status)
app.command()(incidents.report)
app.command()(incidents.approve)
app.command()(incidents.abort)
app.command("roll-back")(incidents.roll_back)


@app.command()
def patch(
    drifted: Annotated[Path, typer.Argument(help="Folder of the drifted checkpoint, or adapter in a release store.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the patch to.")],
    *,
    recipe: Annotated[list[str], typer.Option(help="Recipe; give it again for the next rung.")],
    reference: Annotated[Path | None, typer.Option(help="Folder of the last known good checkpoint.")] = None,
    options: Annotated[
        list[str] | None, typer.Option(help="Options as JSON, for all recipes; or again for each, in their order.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each recipe.")] = 3600.0,
    report: Annotated[Path | None, typer.Option(help="Folder for a page and a JSON file of each recipe.")] = None,
    form: Annotated[Form, typer.Option(help="A full checkpoint, or a LoRA folder for PEFT.")] = Form.MERGED,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Repair a checkpoint by hand, without a daemon. The result still has to be verified."""
    from monitor.by_hand import patch_by_hand

    trials = patch_by_hand(
        drifted, output, recipes=recipe, reference=reference, options=options or [], timeout_seconds=timeout,
        report=report, form=form, device=device,
    )  # fmt: skip
    print(json.dumps(trials, indent=2))
    if trials[-1]["why"]:
        _fail(f"no recipe gave a usable patch; the last one: {trials[-1]['why']}", CRASH)


@app.command(context_settings=_FORWARDED)
def serve(context: typer.Context) -> None:
    """Serve releases with vLLM on this host; `alignd serve --help` lists the options."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "deploy.vllm.serve", *context.args])  # noqa: S606


@app.command()
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave server, daemon and metrics up.")] = False,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Make the fine-tunes anew.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("build/demo"),
    cache: Annotated[Path | None, typer.Option(help="Folder of models and releases.")] = None,
) -> None:
    """Run the whole loop on real parts: drift, roll-back, repair, verification, promotion."""
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "alignd"
    run_demo = importlib.import_module("monitor.demo.main").run_demo
    raise typer.Exit(run_demo(keep=keep, from_scratch=from_scratch, out=out, cache=folder))
