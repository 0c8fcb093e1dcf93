import re
from pathlib import Path

from django.db import migrations

from core.sql import sql_beside

REPLACED = ("approvals_request_is_sound", "approvals_decision_may_count", "approvals_grant_was_approved")
UNDO = """
DROP TRIGGER comment_is_not_truncated ON approvals_comment;
DROP TRIGGER comment_is_append_only ON approvals_comment;
DROP TRIGGER delegation_is_not_truncated ON approvals_delegation;
DROP TRIGGER delegation_is_sound ON approvals_delegation;
DROP FUNCTION approvals_delegation_is_sound();
"""
LAST = "\nDROP FUNCTION approvals_rule_may_extend(approvals_accessrequest);"


def as_before() -> str:
    """Return the functions of 0002 that this migration replaces."""
    text = Path(__file__).with_name("0002_guards.sql").read_text(encoding="utf-8")
    found = [re.search(rf"(?ms)^CREATE FUNCTION {name}\(.*?^END \$\$;", text) for name in REPLACED]
    return "\n".join(match[0].replace("CREATE", "CREATE OR REPLACE", 1) for match in found if match)


class Migration(migrations.Migration):
    dependencies = [("approvals", "0005_request_life")]
    operations = [sql_beside(__file__, undo=UNDO + as_before() + LAST)]
