"""Feed mutated inputs from a shell."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.mutations.runner import check, count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one input, as kind/seed/number")
    given = parser.parse_args()
    if given.only:
        with tempfile.TemporaryDirectory() as folder:
            print(check(given.only, Path(folder)) or "fine")
        return 0
    began = time.monotonic()
    inputs, bad = count(given.inputs, given.seed)
    print(f"{inputs} inputs, {bad} bad, {time.monotonic() - began:.0f} s")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
