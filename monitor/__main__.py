"""``python -m monitor`` is ``alignd``, and so is the installed program."""

from __future__ import annotations

import signal
import sys

if sys.argv[1:2] == ["run"]:
    # `systemctl reload` may come while modules are imported: the configuration was not read yet, so nothing is missed.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

from monitor.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
