"""How much memory the process that ingests takes, and whether it grows with what is told."""

import resource
from collections.abc import Iterator

from bench.results import Result
from bench.usage.sizes import Size
from bench.usage.world import Callers
from usage.services import import_rows

FIRST_PART = 5


def measure(size: Size) -> Iterator[Result]:
    """Give the most megabytes that were resident, and how much a five times longer telling adds."""
    callers = Callers()
    import_rows(source=callers.source, rows=callers.rows(size.rows // FIRST_PART))
    part = _peak_megabytes()
    import_rows(source=callers.source, rows=callers.rows(size.rows, seed=2))
    whole = _peak_megabytes()
    yield Result(name="resident_mb_of_ingest", value=whole, bar=300, at_least=False, judged=size.judges_rows)
    yield Result(
        name="growth_of_ingest", value=whole / part, bar=1.1, at_least=False, judged=size.judges_rows
    )


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
