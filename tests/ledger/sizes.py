"""How large a run of the machine is."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings

# While bugs are seeded, one failure is enough and nobody reads its shortest form.
WHILE_SEEDED: Any = {"phases": [Phase.generate], "database": None, "print_blob": False}
seeded_sizes: list[tuple[int, int]] = []


def usual() -> settings:
    """Return the settings of a test run, smaller while bugs are seeded."""
    if seeded_sizes:
        return sized(*seeded_sizes[-1], derandomize=True, **WHILE_SEEDED)
    return sized(200, 40, derandomize=True)


def sized(examples: int, steps: int, **more: Any) -> settings:
    """Return the settings of a run of so many examples of so many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
