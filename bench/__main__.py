"""`python -m bench` runs every measurement, prints one line each and exits 1 if one falls short.

`python -m bench decisions pages` runs only those named. Each has a process and servers of its own.
"""

import importlib
import subprocess
import sys

from bench.environment import services

AT_LEAST = {"decisions", "litellm_overhead"}
ALL = ("decisions", "pages", "memory", "litellm_overhead")


def main(names: list[str]) -> int:
    """Run the measurements and return the exit status."""
    if len(names) == 1:
        return measure(names[0])
    return max(
        subprocess.run([sys.executable, "-m", "bench", name], check=False).returncode for name in names
    )


def measure(name: str) -> int:
    """Run one measurement, print its line, and return 1 when it falls short."""
    with services():
        title, value, bar = importlib.import_module(f"bench.{name}").measure()
    reached = value >= bar if name in AT_LEAST else value <= bar
    print(f"{title} {value:.2f} ({'>=' if name in AT_LEAST else '<='} {bar}) {'ok' if reached else 'SHORT'}")
    return int(not reached)


sys.exit(main(sys.argv[1:] or list(ALL)))
