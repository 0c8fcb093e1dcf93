"""The ASGI entry point: the decisions of `/gateway/v1/*` go to their own application, everything else to
Django, in one process.
"""

import gc
import os
import warnings
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

from django.core.asgi import get_asgi_application

# WhiteNoise hands its small, compressed files over as plain iterators; Django reads them in a thread.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

django_application = get_asgi_application()

from gateway.hot.asgi import Receive, Scope, Send, decisions  # noqa: E402  the app registry must be ready
from gateway.hot.http import DecisionProtocol  # noqa: E402
from gateway.urls import PUSH_PATH  # noqa: E402
from portal.bodies import cut_off  # noqa: E402

COLLECT_AFTER = 20_000  # new objects that hold others

__all__ = ["DecisionProtocol", "application"]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Route one connection."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["path"].startswith("/gateway/v1/") and scope["path"] != PUSH_PATH:
        await decisions(scope, receive, send)
    else:
        asked = dict(scope)
        await django_application(asked, cast("Any", cut_off(asked, receive)), cast("Any", send))


def _collect_less() -> None:
    """Look for unreachable cycles more seldom, and not among what was imported: it took an eighth of a busy
    web process, which makes next to no cycles.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def _lifespan(receive: Receive, send: Send) -> Any:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _collect_less()
            await send({"type": "lifespan.startup.complete"})
        else:
            await decisions.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
