from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP TRIGGER approval_has_its_grant ON approvals_accessrequest;
DROP FUNCTION approvals_approval_has_its_grant();
DROP TRIGGER grant_is_not_truncated ON keys_grant;
DROP TRIGGER grant_was_approved ON keys_grant;
DROP FUNCTION approvals_grant_was_approved();
DROP TRIGGER decision_is_not_truncated ON approvals_decision;
DROP TRIGGER decision_is_append_only ON approvals_decision;
DROP TRIGGER decision_may_count ON approvals_decision;
DROP FUNCTION approvals_decision_may_count();
DROP TRIGGER stage_is_not_truncated ON approvals_stage;
DROP TRIGGER stage_is_append_only ON approvals_stage;
DROP TRIGGER stage_is_pinned ON approvals_stage;
DROP FUNCTION approvals_stage_is_pinned();
DROP TRIGGER request_is_not_truncated ON approvals_accessrequest;
DROP TRIGGER request_is_sound ON approvals_accessrequest;
DROP FUNCTION approvals_request_is_sound();
DROP FUNCTION approvals_stages_are_passed(bigint, int, int);
ALTER TABLE approvals_policy DROP CONSTRAINT policy_has_stages;
DROP TRIGGER policy_is_versioned ON approvals_policy;
DROP FUNCTION approvals_policy_is_versioned();
DROP FUNCTION approvals_refuse(text, text);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0001_initial"),
        ("core", "0002_append_only"),
        ("keys", "0002_guards"),
    ]
    operations = [sql_beside(__file__, undo=UNDO)]
