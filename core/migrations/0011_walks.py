from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0010_slack_link_second_factor")]
    operations = [
        migrations.CreateModel(
            name="Walk",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("begun_at", models.DateTimeField(null=True)),
                ("place", models.JSONField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("outcome", models.JSONField(default=dict)),
            ],
        ),
    ]
