"""Carries a message out as a mail: text, and the same as HTML."""

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from core.models import Outbox
from core.outbox import address

CHOOSE = "/notifications/"
FOOT = "Choose what is sent to you: {address}"


def send_mail(message: Outbox) -> None:
    """Send one mail; the message id is stable, so a repeated delivery can be recognised.

    The link opens a page, which decides nothing.
    """
    payload = message.payload
    link, choose = address(payload["link"]), address(CHOOSE)
    mail = EmailMultiAlternatives(
        subject=" ".join(payload["subject"].split()),
        body=f"{payload['body']}\n\n{link}\n\n-- \n{FOOT.format(address=choose)}\n",
        to=[message.recipient],
        headers={"Message-ID": f"<{message.public_id}@purser>"},
    )
    context = {
        "subject": payload["subject"],
        "body": payload["body"],
        "address": link,
        "settings_address": choose,
        "organisation": settings.ORGANISATION_NAME,
    }
    mail.attach_alternative(render_to_string("mail/message.html", context), "text/html")
    mail.send(fail_silently=False)
