"""A process that owns the embedded services of one directory: it says "ready" and holds them until its input
ends.

Arguments: the directory, then `watchdog`, or `user=NUMBER packages=PATH` to give up root and find the wheels
there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from portal.local import LocalServices
from portal.local.processes import HAS_DEATH_SIGNAL


def main() -> None:
    base_dir = Path(sys.argv[1])
    options = dict(argument.partition("=")[::2] for argument in sys.argv[2:])
    if "packages" in options:
        sys.path.insert(0, options["packages"])
    if "user" in options:
        os.setgroups([])
        os.setgid(int(options["user"]))
        os.setuid(int(options["user"]))
    services = LocalServices(base_dir, watchdog="watchdog" in options or not HAS_DEATH_SIGNAL)
    started_at = time.monotonic()
    with services:
        print(f"ready {time.monotonic() - started_at:.3f}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
