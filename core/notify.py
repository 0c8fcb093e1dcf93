"""Carries outbox messages out of the house. Mail today; each further channel is one function here."""

from django.conf import settings
from django.core.mail import EmailMessage

from core.models import Outbox, OutboxKind


def send_mail(message: Outbox) -> None:
    """Send one mail; the message id is stable, so a repeated delivery can be recognised."""
    payload = message.payload
    text = f"{payload['body']}\n\n{settings.BASE_URL}{payload['link']}\n"
    mail = EmailMessage(
        subject=payload["subject"],
        body=text,
        to=[message.recipient],
        headers={"Message-ID": f"<{message.public_id}@purser>"},
    )
    mail.send(fail_silently=False)


SENDERS = {OutboxKind.MAIL.value: send_mail}
