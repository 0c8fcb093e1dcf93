"""What tests of ordinary logs of gateways say."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson

from core import clock
from gateway.models import GatewayLog
from gateway.tasks import log_of
from tests.gateway.conftest import World
from usage.models import ImportCursor
from usage.services import pull_log
from usage.services.logs import LogCounts


def pull(log: GatewayLog) -> LogCounts:
    ImportCursor.objects.update(next_attempt_at=None)
    return pull_log(source=log_of(log))


def lately() -> datetime:
    """Return a moment whose second is over: the one that runs is read by the next pull."""
    return clock.now() - timedelta(seconds=2)


def allowed(world: World, **changes: Any) -> str:
    reservation: str = world.gus.authorize(world.token, **changes).json()["reservation"]
    return reservation


def line(request_id: str, **fields: Any) -> bytes:
    """One line of nginx's log, as docs/sources.md has it."""
    usage = {"prompt_tokens": 200, "completion_tokens": 50, "total_tokens": 250}
    return (
        orjson.dumps(
            {
                "ts": f"{clock.now().timestamp():.3f}", "request_id": request_id, "reservation": "",
                "key_id": "key_x", "model": "small", "usage": orjson.dumps(usage).decode(), "status": 200,
                "denied": "", "completion": "OK",
            }
            | fields
        )
        + b"\n"
    )  # fmt: skip
