from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0013_path")]
    operations = [
        migrations.AlterField(
            "gateway",
            "kind",
            models.CharField(
                choices=[("litellm", "LiteLLM Proxy"), ("nginx", "nginx")], default="litellm", max_length=16
            ),
        ),
    ]
