"""No record, no change: a decision and its audit event are committed together or not at all.

That every service records exactly its events is walked in tests/portal/test_audit_walk.py.
"""

from __future__ import annotations

from typing import Any

import pytest

import approvals.services
from approvals.models import RequestStatus, Verdict
from budgets.models import Budget
from core import audit
from core.models import AuditEvent, Outbox
from keys.models import ApiKey
from tests.approvals.conftest import ask_for
from tests.cast import Cast


def test_a_decision_whose_record_fails_never_happened(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ask_for(cast)
    record = audit.record

    def broken(**values: Any) -> AuditEvent:
        if values["action"] == "request.approved":
            raise ConnectionError("no record can be written")
        return record(**values)

    monkeypatch.setattr(audit, "record", broken)
    with pytest.raises(ConnectionError):
        approvals.services.decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING
    assert not request.decisions.exists()
    assert not ApiKey.objects.exists()
    assert not Budget.objects.exists()
    assert set(Outbox.objects.values_list("topic", flat=True)) == {"request.waiting"}
