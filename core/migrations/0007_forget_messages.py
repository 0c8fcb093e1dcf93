from django.db import migrations, models

from core.sql import sql_beside

UNDO = """
DROP FUNCTION core_forget_messages(timestamptz, int);
DROP TRIGGER delivery_attempt_is_kept ON core_deliveryattempt;
DROP TRIGGER delivery_attempt_is_append_only ON core_deliveryattempt;
CREATE TRIGGER delivery_attempt_is_append_only BEFORE UPDATE OR DELETE ON core_deliveryattempt
  FOR EACH ROW EXECUTE FUNCTION core_append_only();
DROP FUNCTION core_attempt_is_kept();
DROP TRIGGER message_is_not_truncated ON core_outbox;
DROP TRIGGER message_is_kept ON core_outbox;
DROP FUNCTION core_message_is_kept();
DROP FUNCTION core_message_ended_at(core_outbox);
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0006_token_and_key_of_the_audit")]
    operations = [
        migrations.AddField(model_name="outbox", name="put_aside_at", field=models.DateTimeField(null=True)),
        migrations.AddConstraint(
            model_name="outbox",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("put_aside_at__isnull", True), ("dead_at__isnull", False), _connector="OR"
                ),
                name="outbox_put_aside_was_given_up",
            ),
        ),
        sql_beside(__file__, undo=UNDO),
    ]
