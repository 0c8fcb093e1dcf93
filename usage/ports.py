"""What a source of usage must offer. Adapters in `gateway` implement it; this app knows no product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """One page of a source's journal: raw rows, where to go on, and whether there is more now."""

    rows: Sequence[dict[str, Any]]
    next_cursor: str
    has_more: bool


class SourceUnavailableError(Exception):
    """The source could not be read; nothing was lost, the cursor stands."""


class UsageSource(Protocol):
    """A gateway's own record of finished calls. A page asked again gives the same rows."""

    @property
    def name(self) -> str:
        """Return the source's stable name, the public id of its gateway."""

    def page(self, cursor: str, *, limit: int) -> UsagePage:
        """Return the rows after `cursor` (empty: from the start). Raises SourceUnavailableError."""


class SourceNames(Protocol):
    """Knows what people call the sources."""

    def __call__(self) -> Mapping[str, str]:
        """Return the name of each source by its stable one. One query."""
