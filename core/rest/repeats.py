"""`Idempotency-Key` in the management API: every act of every noun takes it."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from core.idempotency import HEADER, Kept, fingerprint, once


class Repeatable(GenericViewSet[Any]):
    """Lets an unsafe call with the header have one effect; looked at after who calls, before what he asks.

    `shows_once` names the acts whose answers hold a secret: they are not kept, so the act repeated answers
    for itself. `withholds` names members of answers that are not kept: they are null when a call is repeated.
    """

    shows_once: ClassVar[frozenset[str]] = frozenset()
    withholds: ClassVar[frozenset[str]] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let the caller in, then put the act behind its key."""
        super().initial(request, *args, **kwargs)
        method = (request.method or "").lower()
        act = getattr(self, method, None)
        if request.method in SAFE_METHODS or not self.action or act is None or HEADER not in request.headers:
            return
        setattr(self, method, lambda asked, *given, **named: self._once(act, asked, *given, **named))

    def _once(self, act: Callable[..., Response], request: Request, *args: Any, **kwargs: Any) -> Response:
        return once(
            caller=f"user:{request.user.pk}",
            key=request.headers[HEADER],
            asked=fingerprint(request.method, request.get_full_path(), request.data),
            act=lambda: act(request, *args, **kwargs),
            keep=self._kept,
            repeat=_repeated,
        )

    def _kept(self, response: Response) -> Kept | None:
        if self.action in self.shows_once:
            return None
        kept = {**response.data, **dict.fromkeys(self.withholds & response.data.keys())}
        return Kept(
            status=response.status_code,
            body=JSONRenderer().render(kept).decode(),
            location=str(response.headers.get("Location", "")),
        )


def _repeated(kept: Kept) -> Response:
    headers = {"Location": kept.location} if kept.location else {}
    return Response(json.loads(kept.body), status=kept.status, headers=headers)
