"""`python -m bench` runs every measurement, prints a line for each figure and exits 1 if one falls short.

`python -m bench T3 pages` runs only those named; `--quick` runs them so briefly that no speed is judged, only
what is right or wrong. Each measurement has a process and servers of its own.
"""

import importlib
import subprocess
import sys
from argparse import ArgumentParser

from bench.environment import services
from bench.sizes import FULL, QUICK

MEASUREMENTS = {
    "T1": "decisions.t1_authorize",
    "T2": "decisions.t2_pairs",
    "T3": "decisions.t3_twin",
    "T4": "decisions.t4_hot_team",
    "T5": "decisions.t5_slow_fsync",
    "T6": "decisions.t6_one_connection",
    "T7": "overspend.t7_overspend",
    "T8": "crash.t8_crash",
    "T9": "held.t9_held",
    "T10": "litellm_overhead.measure",
    "K1": "revocation.k1_revocation",
    "growth": "growth.growth",
    "pages": "pages.measure",
    "memory": "memory.measure",
}


def main() -> int:
    """Run the measurements, one process each, and return the exit status."""
    parser = ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], metavar="NAME", default=[])
    parser.add_argument("--quick", action="store_true", help="few requests; no verdict on speed")
    parser.add_argument("--here", action="store_true", help="run one measurement in this process")
    arguments = parser.parse_args()
    if arguments.here:
        return int(not all(measure(name, quick=arguments.quick) for name in arguments.names))
    flags = ["--here", *(["--quick"] if arguments.quick else [])]
    statuses = [
        subprocess.run([sys.executable, "-m", "bench", *flags, name], check=False).returncode
        for name in arguments.names or MEASUREMENTS
    ]
    return int(any(statuses))


def measure(name: str, *, quick: bool) -> bool:
    """Run one measurement, print its lines, and say whether all that is judged is reached."""
    module, _, function = MEASUREMENTS[name].partition(".")
    reached = True
    with services() as running:
        # Django is set up by now: what is measured may import models.
        measurement = getattr(importlib.import_module(f"bench.{module}"), function)
        for result in measurement(running, QUICK if quick else FULL):
            print(result.line(name), flush=True)
            reached &= result.reached or not result.judged
    return reached


sys.exit(main())
