"""The guard: a process of its own that changes a server's weights, and never leaves users before a shut door.

``python -m deploy.vllm.reload_guard STATE`` makes the change that the journal in a folder plans, or ends one that
another guard began: it resumes, or goes back to the weights before, or asks for a restart. Whoever started it may die
at any moment; it goes on. Where the guard itself dies, the next one reads the journal and ends the change.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from deploy.canary import difference, stored_canary
from deploy.errors import DeployError, DeployerUnavailable, Fenced, StageError
from deploy.vllm.client import Replica, replica
from deploy.vllm.reload_journal import Journal, Outcome, Step, Weights, alone, write_desired

__all__ = ["BUSY", "Guard", "main"]

log = logging.getLogger("alignd.reload")

BUSY = 3
"""Exit status where another guard is at work."""
_UNTOUCHED = {Step.PLANNED, Step.HOLD, Step.DRAIN}
"""Steps at which the weights are still the old ones."""
_POLL_SECONDS = 0.5


class Guard:
    """Makes one change, step by step, each written down before it is done."""

    def __init__(self, state: Path, journal: Journal, server: Replica) -> None:
        """Take the folder of the journal, what it says and the server."""
        self._state = state
        self._journal = journal
        self._server = server
        self._swap = journal.swap

    async def run(self) -> Outcome:
        """Make the change, or end the one that is under way."""
        self._server.act_with(self._swap.fence)
        begun = self._journal.step
        try:
            if begun is Step.PLANNED:
                await self._forward()
            elif begun in {Step.DESIRE, Step.RELEASE}:
                await self._finish()
            else:
                await self._back(f"its guard died at step {begun.value}")
        except Fenced as error:
            self._end(Outcome.FAILED, str(error))  # whoever took over owns the door now
        except DeployError as error:
            await self._back(str(error))
        return self._journal.outcome

    async def _forward(self) -> None:
        await self._do(Step.HOLD, lambda: self._server.hold(self._swap.hold_seconds))
        await self._do(Step.DRAIN, lambda: self._server.drain(self._swap.drain_seconds))
        await self._load(self._swap.new)
        await self._do(Step.PROVE, lambda: self._prove(self._swap.new, self._swap.old))
        await self._finish(proved=True)

    async def _finish(self, *, proved: bool = False) -> None:
        if not proved:
            await self._server.resume()
            await self._prove(self._swap.new, self._swap.old)
        self._note(Step.DESIRE)
        write_desired(self._state, self._swap.new.release)
        await self._do(Step.RELEASE, self._server.release)
        self._end(Outcome.DONE, "")

    async def _load(self, weights: Weights) -> None:
        seconds = self._swap.step_seconds
        await self._do(Step.LOAD, lambda: self._server.reload(weights.path, seconds=seconds))
        await self._do(Step.CLEAR, lambda: self._server.clear_cache(seconds=seconds))
        await self._do(Step.NAME, lambda: self._server.name(weights.release))
        await self._do(Step.RESUME, self._server.resume)

    async def _prove(self, weights: Weights, other: Weights) -> None:
        """Compare what the server says with what a server of its own said.

        Raises:
            StageError: It differs.
        """
        swap, store = self._swap, Path(self._swap.store)
        wanted = stored_canary(store, weights.release, dtype=swap.dtype)
        if wanted is None:
            raise StageError(f"release {weights.release}: its canary is gone; stage it again")
        seen = await self._server.canary(weights.release, dtype=swap.dtype, server=swap.server)
        beside = stored_canary(store, other.release, dtype=swap.dtype) if other != weights else None
        why = difference(seen, wanted, [beside] if beside else [])
        if not why and seen.fingerprint != weights.release:
            why = f"answers name release {seen.fingerprint!r}"
        if why:
            raise StageError(f"release {weights.release} was loaded, and the server does not serve it: {why}")

    async def _back(self, why: str) -> None:
        """Serve the old weights, proved, whatever it takes; ``why`` is what went wrong."""
        untouched = self._journal.step in _UNTOUCHED
        log.warning("going_back from %s: %s", self._journal.step.value, why)
        self._note(Step.BACK if not untouched else self._journal.step, why=why)
        try:
            if untouched:
                await self._server.resume()
            else:
                await self._server.hold(self._swap.hold_seconds)
                await self._server.drain(self._swap.drain_seconds)
                old, seconds = self._swap.old, self._swap.step_seconds
                await self._server.reload(old.path, seconds=seconds)
                await self._server.clear_cache(seconds=seconds)
                await self._server.name(old.release)
                await self._server.resume()
                await self._prove(old, self._swap.new)
                write_desired(self._state, old.release)
            await self._server.release()
            self._end(Outcome.UNCHANGED if untouched else Outcome.ROLLED_BACK, why)
        except Fenced as error:
            self._end(Outcome.FAILED, str(error))
        except DeployError as error:
            await self._restart(f"{why}; going back failed: {error}")

    async def _restart(self, why: str) -> None:
        """Have the server restarted: it starts with the desired release, which is the old one.

        Without a command it may be on its way up by itself, where it died and what started it starts it again.
        """
        self._note(Step.RESTART, why=why)
        log.error("restart_asked %s", why)
        try:
            write_desired(self._state, self._swap.old.release)
            if self._swap.restart:
                await _command(self._swap.restart, seconds=self._swap.restart_seconds)
            await self._up_again()
            await self._prove(self._swap.old, self._swap.new)
            await self._server.release()
        except DeployError as error:
            by_hand = f"restart the server by hand: it comes up with {self._swap.old.release}"
            self._end(Outcome.FAILED, f"{why}; after that: {error}; {by_hand}")
        else:
            self._end(Outcome.RESTARTED, why)

    async def _up_again(self) -> None:
        end = time.monotonic() + self._swap.restart_seconds
        while True:
            try:
                await self._server.door()
            except DeployerUnavailable:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return

    async def _do(self, step: Step, work: Callable[[], Awaitable[None]]) -> None:
        self._note(step)
        await work()

    def _note(self, step: Step, *, why: str = "") -> None:
        self._journal = self._journal.at(step, why=why)
        self._journal.write(self._state)
        log.info("step %s of %s", step.value, self._swap.new.release)

    def _end(self, outcome: Outcome, why: str) -> None:
        self._journal = self._journal.at(Step.ENDED, why=why, outcome=outcome)
        self._journal.write(self._state)
        log.info("ended %s %s", outcome.value, why)


async def guard(state: Path) -> Outcome:
    """Make or end the change of a folder's journal, if there is one to end."""
    journal = Journal.read(state)
    if journal is None or journal.outcome:
        return journal.outcome if journal else Outcome.UNCHANGED
    swap = journal.swap
    token, key = (_secret(f) for f in (swap.token_file, swap.api_key_file))
    async with replica(swap.url, model=swap.model, token=token, api_key=key) as server:
        return await Guard(state, journal, server).run()


def _secret(file: str) -> str:
    try:
        return Path(file).read_text().strip() if file else ""
    except OSError as error:
        raise StageError(f"{file}: can't be read ({error.strerror}); mend it, then start again") from error


async def _command(words: tuple[str, ...], *, seconds: float) -> None:
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        raise StageError(f"{words[0]} can't be run ({error})") from error
    try:
        status = await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError as error:
        process.kill()
        raise StageError(f"{words[0]} took longer than {seconds:g} s") from error
    if status:
        raise StageError(f"{words[0]} ended with status {status}")


def main() -> None:
    """Make or end the change; the journal says how it ended."""
    parser = argparse.ArgumentParser(description="Make or end a change of weights.")
    parser.add_argument("state", type=Path)
    state = parser.parse_args().state
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with alone(state) as mine:
        if not mine:
            sys.exit(BUSY)
        try:
            asyncio.run(guard(state))
        except DeployError:
            log.exception("guard_failed")
            sys.exit(2)


if __name__ == "__main__":
    main()
