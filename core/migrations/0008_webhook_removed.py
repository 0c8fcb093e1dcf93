from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0007_forget_messages"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhook",
            name="removed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.CheckConstraint(
                condition=Q(removed_at__isnull=True) | Q(disabled_at__isnull=False),
                name="webhook_is_off_once_it_is_removed",
            ),
        ),
    ]
