"""The calls in flight: what is remembered of a call between its authorisation and its settlement."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from .bodies import Question
from .refusals import Refusal

RESERVATION_FIELD = "purser_reservation"


@dataclass(slots=True)
class Call:
    """One authorised call. `asked` and `answer` are kept only to estimate usage when nobody reports it.

    `leased` is empty for a call that the portal decided; else it holds `lease` and `call`, as the gateway API
    reads them in a settlement. `warnings` are told to the client.
    """

    reservation: str
    request_id: str
    key_id: str
    model: str
    max_output_tokens: int | None
    asked: Mapping[str, object]
    leased: Mapping[str, object] = field(default_factory=dict)
    warnings: str = ""
    answer: object = None
    closed: bool = False


@dataclass(slots=True)
class Exchange:
    """One HTTP request of a client, from the edge inwards. The key is out of `repr`, and LiteLLM only sees
    its fingerprint.

    `asking` is the decision on its way, for `question`; the pre-call hook takes it, and nobody else.
    """

    path: str
    method: str
    key: str | None = field(default=None, repr=False)
    well_formed: bool = False
    fingerprint: str | None = None
    project_id: str | None = None
    refusal: Refusal | None = None
    question: Question | None = None
    asking: "asyncio.Task[Call | Refusal] | None" = None
    call: Call | None = None


class Register:
    """The open calls of this process, by reservation."""

    def __init__(self) -> None:
        self._open: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, call: Call) -> None:
        """Remember a call until it is closed."""
        self._open[call.reservation] = call

    def find(self, reservation: object) -> Call | None:
        """Return the open call of a reservation, or None, as for an id that a client made up."""
        return self._open.get(reservation) if isinstance(reservation, str) else None

    def close(self, call: Call) -> bool:
        """Close a call; return False when it was closed before."""
        if call.closed:
            return False
        call.closed = True
        call.answer, call.asked = None, {}
        self._open.pop(call.reservation, None)
        return True


def reservation_in(*sources: object) -> str | None:
    """Return the reservation id that one of the metadata dicts carries."""
    for source in sources:
        if isinstance(source, Mapping) and isinstance(found := source.get(RESERVATION_FIELD), str):
            return found
    return None
