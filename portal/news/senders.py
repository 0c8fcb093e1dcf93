"""How each message leaves the house."""

from core.mails import send_mail
from core.models import OutboxKind
from portal.services.slack import send_slack
from portal.services.webhooks import deliver_event

SENDERS = {
    OutboxKind.MAIL.value: send_mail,
    OutboxKind.SLACK.value: send_slack,
    OutboxKind.WEBHOOK.value: deliver_event,
}
