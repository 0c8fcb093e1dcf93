"""Rows that could not be booked in the API, and what administrators do about them."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInputError
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet
from teams.selectors import require_admin
from usage.models import Finish, Quarantine
from usage.selectors.quarantine import STATES, quarantine_for
from usage.serializers import QuarantineOut, QuarantineQuery
from usage.serializers_books import QuarantineBookIn, QuarantineDismissIn
from usage.services.quarantine import AssignedCall, assign_quarantined, dismiss_quarantined
from usage.tokens import TOKEN_FIELDS
from usage.told import told


class QuarantineViewSet(NounViewSet):
    """Rows of gateways that could not be booked; for finance, auditors and administrators."""

    noun = "row"
    out = QuarantineOut
    list_query = QuarantineQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("qrn")

    def get_queryset(self) -> QuerySet[Quarantine]:
        """Return all rows, to those who may see them."""
        return quarantine_for(self.actor)

    def chosen(self, rows: QuerySet[Quarantine]) -> QuerySet[Quarantine]:
        """Narrow the list down to a reason, a source and a state."""
        found = self.narrowed(rows, reason="reason", source="source")
        return found.filter(STATES[self.query["state"]][1]) if "state" in self.query else found

    @operation(takes=QuarantineBookIn, gives=QuarantineOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def book(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Book the call of a row with what it lacked, once, in the window of its own time.

        What the body leaves out is what the row tells. Only administrators may.
        """
        wanted, entry = self.body(QuarantineBookIn), self.found(id)
        require_admin(self.actor, "book rows that were set aside")
        reason = wanted.pop("reason")
        call = assigned_call(entry, wanted)
        assign_quarantined(actor=self.actor, entry=entry, call=call, reason=reason)
        return self.answer(self.found(id))

    @operation(takes=QuarantineDismissIn, gives=QuarantineOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def dismiss(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a row without booking it; it cannot be booked later. Only administrators may."""
        reason = self.body(QuarantineDismissIn)["reason"]
        dismiss_quarantined(actor=self.actor, entry=self.found(id), reason=reason)
        return self.answer(self.found(id))


def assigned_call(entry: Quarantine, wanted: Mapping[str, Any]) -> AssignedCall:
    """Return the call that a row tells of, with what the body says instead.

    Raises InvalidInputError naming a field that neither of them says.
    """
    call = told(entry.row, external_id=entry.external_id)
    tells = {"external_id": call.external_id, "at": call.at, "key": call.key, "model": call.model}
    known = {**tells, "finish": call.finish or Finish.STOP, **call.tokens, **wanted}
    missing = next((name for name, value in known.items() if value is None or value == ""), None)
    if missing:
        raise InvalidInputError(f"The row does not tell {missing}, so say it.", field=missing)
    return AssignedCall(
        tokens={name: known.pop(name) for name in TOKEN_FIELDS},
        **known,
    )
