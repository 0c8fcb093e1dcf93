"""Carries outbox messages out of the house: one sender a channel."""

from core.mails import send_mail
from core.models import OutboxKind

SENDERS = {OutboxKind.MAIL.value: send_mail}
