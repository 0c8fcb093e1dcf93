"""The theme is a choice that works without script: a form, a cookie, and back to the page."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from portal.views import theme


def choose(value: str, *, back: str = "/budgets/?tab=mine") -> HttpResponse:
    """Press the button of a theme on a page."""
    return theme(RequestFactory().post("/theme/", {"theme": value, "next": back}))


@pytest.mark.parametrize("value", ["light", "dark"])
def test_choice_is_kept_in_a_cookie_and_the_page_comes_back(value: str) -> None:
    response = choose(value)
    assert response["Location"] == "/budgets/?tab=mine"
    assert response.cookies["theme"].value == value
    assert response.cookies["theme"]["samesite"] == "Lax"


@pytest.mark.parametrize("value", ["system", "", "<script>"])
def test_anything_else_forgets_the_choice(value: str) -> None:
    assert choose(value).cookies["theme"]["max-age"] == 0


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_nobody_is_sent_to_another_site(back: str) -> None:
    assert choose("dark", back=back)["Location"] == "/"


def test_following_a_link_chooses_nothing() -> None:
    assert theme(RequestFactory().get("/theme/")).status_code == 405
