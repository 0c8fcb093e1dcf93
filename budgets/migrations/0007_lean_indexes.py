from django.db import migrations

# Django adds to each unique text column an index for LIKE, and to each foreign key one of its own. On the rows of
# every call nobody asks that way, and each index is a write.
DROP = """
DO $$
DECLARE
  name text;
BEGIN
  FOR name IN SELECT indexname FROM pg_indexes WHERE tablename IN ('budgets_reservation', 'budgets_entry')
    AND (indexname LIKE '%\\_like' OR indexname LIKE 'budgets\\_entry\\_actor\\_id%') LOOP
    EXECUTE format('DROP INDEX %I', name);
  END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0006_lease_attribution")]
    operations = [migrations.RunSQL(DROP, migrations.RunSQL.noop)]
