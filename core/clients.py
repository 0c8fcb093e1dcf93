"""Which address a request came from, behind as many proxies as the operator says there are."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """Return the address that the outermost trusted proxy saw, or the peer's where there is no proxy.

    A client may write anything into X-Forwarded-For; only what the trusted proxies added at its end counts.
    """
    proxies: int = settings.TRUSTED_PROXY_COUNT
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
    if 0 < proxies <= len(hops):
        return _plain(hops[-proxies]) or _plain(request.META.get("REMOTE_ADDR", ""))
    return _plain(request.META.get("REMOTE_ADDR", ""))


def _plain(text: str) -> str | None:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return None
