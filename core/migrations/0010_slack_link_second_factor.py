from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0009_slack_buttons")]
    operations = [
        migrations.AddField(
            model_name="slacklink",
            name="with_second_factor",
            field=models.BooleanField(default=False),
        ),
    ]
