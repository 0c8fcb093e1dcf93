"""`python -m bench` runs every measurement, prints one line each and exits 1 if one falls short.

`python -m bench decisions pages` runs only those named.
"""

import importlib
import sys

from bench.environment import services

AT_LEAST = {"decisions", "litellm_overhead"}
ALL = ("decisions", "pages", "memory", "litellm_overhead")


def main(names: list[str]) -> int:
    """Run the measurements and return the exit status."""
    results = []
    with services():
        for name in names:
            print(f"{name}:", flush=True)
            results.append((name in AT_LEAST, *importlib.import_module(f"bench.{name}").measure()))
    short = False
    for number, (at_least, name, value, bar) in enumerate(results, start=1):
        reached = value >= bar if at_least else value <= bar
        short = short or not reached
        limit = f"{'>=' if at_least else '<='} {bar}"
        print(f"B{number} {name} {value:.2f} ({limit}) {'ok' if reached else 'SHORT'}")
    return int(short)


sys.exit(main(sys.argv[1:] or list(ALL)))
