"""`python -m bench.usage` measures what usage promises, a line for each figure, and exits 1 if one is short.

`python -m bench.usage U1 memory` runs only those named; `--events` and `--rows` say on how many stored calls
and told rows. Each measurement has a process and servers of its own.
"""

import importlib
import subprocess
import sys
from argparse import ArgumentParser

from bench.environment import services
from bench.usage.sizes import Size

MEASUREMENTS = {
    "U1": "ingest.u1_ingest",
    "U2": "dashboards.u2_dashboards",
    "U3": "reconcile.u3_reconcile",
    "memory": "memory.measure",
    "pages": "pages.measure",
}


def main() -> int:
    """Run the measurements, one process each, and return the exit status."""
    parser = ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], metavar="NAME", default=[])
    parser.add_argument("--events", type=int, default=10_000_000, help="stored calls under the dashboards")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows told to ingest")
    parser.add_argument("--here", action="store_true", help="run one measurement in this process")
    arguments = parser.parse_args()
    size = Size(events=arguments.events, rows=arguments.rows)
    if arguments.here:
        return int(not all(measure(name, size) for name in arguments.names))
    flags = ["--here", "--events", str(size.events), "--rows", str(size.rows)]
    statuses = [
        subprocess.run([sys.executable, "-m", "bench.usage", *flags, name], check=False).returncode
        for name in arguments.names or MEASUREMENTS
    ]
    return int(any(statuses))


def measure(name: str, size: Size) -> bool:
    """Run one measurement, print its lines, and say whether all that is judged is reached."""
    module, _, function = MEASUREMENTS[name].partition(".")
    reached = True
    with services():
        # Django is set up by now: what is measured may import models.
        measurement = getattr(importlib.import_module(f"bench.usage.{module}"), function)
        for result in measurement(size):
            print(result.line(name), flush=True)
            reached &= result.reached or not result.judged
    return reached


sys.exit(main())
