"""Sends a person to the identity provider once more, to show that it is he."""

from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from teams.types import PersonRequest


@require_safe
def confirm_at_provider(request: PersonRequest) -> HttpResponse:
    """Ask the provider to ask again, even where it knows the browser, and to say when it did; come back."""
    params = "prompt=login&max_age=0"
    after = {"process": "login", "auth_params": params, "next": request.GET.get("next", "/")}
    return redirect(f"{reverse('openid_connect_login', args=['company'])}?{urlencode(after)}")
