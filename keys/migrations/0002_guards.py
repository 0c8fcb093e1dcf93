from django.db import migrations

from core.sql import sql_beside

UNDO = """
ALTER TABLE keys_apikey DROP CONSTRAINT key_digest_is_whole;
DROP TRIGGER grant_only_shrinks ON keys_grant;
DROP FUNCTION keys_grant_only_shrinks();
DROP TRIGGER key_is_sound ON keys_apikey;
DROP FUNCTION keys_apikey_is_sound();
"""


class Migration(migrations.Migration):
    dependencies = [("keys", "0001_initial")]
    operations = [sql_beside(__file__, undo=UNDO)]
