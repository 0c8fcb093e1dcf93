from django.db import migrations, models

# What reads an account is named after it; a log that was closed stood for no gateway any more.
CLOSE = """
    UPDATE usage_importcursor c SET closed_at = a.closed_at FROM usage_provideraccount a
      WHERE a.closed_at IS NOT NULL AND a.public_id = split_part(c.source, ':', 1);
    UPDATE usage_importcursor SET closed_at = now() WHERE kind = 'log' AND gateway = '';
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0028_carry_unsettled_calls")]
    operations = [
        migrations.AddField("importcursor", "closed_at", models.DateTimeField(null=True)),
        migrations.RunSQL(CLOSE, migrations.RunSQL.noop),
    ]
