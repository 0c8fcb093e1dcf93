from django.db import migrations


class Migration(migrations.Migration):
    # Gave a database that was made earlier the functions of its day; 0011 gives it today's.
    dependencies = [("usage", "0007_blocked_attribution")]
    operations: list[migrations.RunSQL] = []
