"""Every way to write, done once, and what the audit keeps of it; by app. The rules stand in tests/portal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cast import Cast

WHY = "A test of the audit."

Act = Callable[[Cast], Any]
# A service, or one of the ways it goes ("app.service: this way"), how to do it once, and the actions that
# its own transaction records. What came before it records what is in BEFORE of test_audit_walk alone.
Walk = dict[str, tuple[Act, list[str]]]
