"""The pages of gateways: an administrator switches one off and on, with a reason, and reads what follows."""

from __future__ import annotations

from core.models import AuditEvent
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import GatewayFactory

PAGE = "/gateways/"


def test_switching_off_and_on_asks_why_says_what_follows_and_shows_since_when(cast: Cast) -> None:
    gateway = GatewayFactory.create(name="edge")
    ann = Visitor(cast.ann)
    off, on = f"{PAGE}{gateway.public_id}/disable/", f"{PAGE}{gateway.public_id}/enable/"
    assert off in ann.get(PAGE).links
    assert "no call through it is allowed" in ann.get(off).words
    assert ann.post(off, reason="").status == 422
    gateway.refresh_from_db()
    assert gateway.disabled_at is None

    assert ann.post(off, reason="Its host was broken into.").status == 302
    page = ann.get(PAGE)
    assert "Off since" in page.words
    assert on in page.links
    assert off not in page.links

    assert "make a new one first" in ann.get(on).words
    assert ann.post(on, reason="A new host.").status == 302
    assert off in ann.get(PAGE).links
    told = AuditEvent.objects.filter(action__startswith="gateway.").order_by("pk")
    assert [(event.action, event.reason) for event in told] == [
        ("gateway.disabled", "Its host was broken into."),
        ("gateway.enabled", "A new host."),
    ]


def test_without_a_gateway_the_page_says_how_one_is_registered(cast: Cast) -> None:
    assert "gateway_config" in Visitor(cast.ann).get(PAGE).words
