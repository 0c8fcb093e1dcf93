"""How much usage a measurement is made on."""

from dataclasses import dataclass

JUDGED_EVENTS = 1_000_000
JUDGED_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Stored calls under the dashboards, and rows told to ingest. Few show that it works, no more."""

    events: int
    rows: int

    @property
    def judges_events(self) -> bool:
        """Whether the dashboards stand on enough to be judged."""
        return self.events >= JUDGED_EVENTS

    @property
    def judges_rows(self) -> bool:
        """Whether ingest is told enough to be judged."""
        return self.rows >= JUDGED_ROWS
