"""A demo that is interrupted ends what it started, however often it is told to."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WORK = """
import asyncio
from monitor.demo import main

async def work():
    try:
        print("begun", flush=True)
        await asyncio.sleep(60)
    finally:
        print("ending", flush=True)
        await asyncio.sleep(1.0)
        print("ended", flush=True)
    return 0

try:
    asyncio.run(main._interruptible(work()))
except asyncio.CancelledError:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM), (signal.SIGINT,) * 2]
)
def test_a_second_signal_does_not_cut_the_ending_short(first: signal.Signals, second: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(first)
        assert process.stdout.readline() == "ending\n"
        process.send_signal(second)
        assert process.stdout.read() == "ended\ninterrupted\n"
    assert process.returncode == 0
