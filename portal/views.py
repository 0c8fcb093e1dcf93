"""Pages of no app: the choice of the theme, and what allauth would offer and the house does not."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from core.errors import NotFoundError

THEMES = frozenset({"light", "dark"})
THEME_SECONDS = 31_536_000


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light or dark in a cookie, or forget it (`system`), and go back to the page."""
    target = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    response = redirect(target if safe else "/")
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        response.set_cookie("theme", chosen, max_age=THEME_SECONDS, samesite="Lax", secure=settings.SECURE)
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


def not_ones_own(request: HttpRequest) -> HttpResponse:
    """Refuse to change one's own address or identity: who somebody is, others say, and the audit keeps it."""
    raise NotFoundError("There is no such page. An administrator changes addresses.")
