"""`manage.py audit_verify`: recomputes the seals of the audit and names what is not as it was sealed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core import seal
from portal.audit.verification import figures, lines


class Command(BaseCommand):
    """Verifies every audit event, every seal, and the seals against their anchors outside the database."""

    help = "Verify the audit; exit 1 and name each row that is not as it was sealed."

    def handle(self, **_options: Any) -> None:
        """Verify, and exit 1 when something is not as it was sealed."""
        result = seal.verify()
        if result.broken:
            raise CommandError("\n".join(lines(result)), returncode=1)
        self.stdout.write(figures(result))
