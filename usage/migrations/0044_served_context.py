from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# A settlement is priced in the service class that was served, and its call keeps it.
FILES = ("0005_settle.sql", "0018_corrections.sql", "0019_repricing.sql")
AGAIN = [functions_again(Path(__file__).with_name(name)) for name in FILES]
# A database that is made today has it from 0005 on.
POSTING = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'usage_posting'::regclass AND attname = 'context') THEN
    ALTER TYPE usage_posting ADD ATTRIBUTE context text;
  END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0043_settled_by_log")]
    operations = [migrations.RunSQL(text, migrations.RunSQL.noop) for text in (POSTING, *AGAIN)]
