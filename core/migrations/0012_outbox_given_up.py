from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0011_walks"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("dead_at__isnull", False), ("put_aside_at__isnull", True)),
                fields=["id"],
                name="outbox_given_up",
            ),
        ),
    ]
