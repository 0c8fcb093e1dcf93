"""`python -m bench` runs every measurement, prints one line each and exits 1 if one falls short."""

import sys

from bench.environment import services


def main() -> int:
    """Run all and return the exit status."""
    with services():
        from bench import decisions  # noqa: PLC0415  its imports need the settings of these services

        results = [decisions.measure()]
    short = False
    for number, (name, ratio, floor) in enumerate(results, start=1):
        verdict = "ok" if ratio >= floor else "SHORT"
        short = short or ratio < floor
        print(f"B{number} {name} {ratio:.2f} (>= {floor}) {verdict}")
    return int(short)


sys.exit(main())
