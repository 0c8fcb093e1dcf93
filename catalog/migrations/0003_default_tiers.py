"""The three tiers that a new installation starts with. They are data: rename them, add others."""

from django.db import migrations

TIERS = (
    (1, "Everyday", "Internal tools, chat and summaries on the cheap models. No approval needed.", 4_096, 64),
    (2, "Project", "Customer-facing work and complex reasoning on the mid-size and large models.", 8_192, 64),
    (3, "Experimental", "Research and development on the frontier models.", 16_384, 64),
)


def add_tiers(apps, schema_editor):
    tier_model = apps.get_model("catalog", "Tier")
    for number, name, description, default_tokens, floor_tokens in TIERS:
        tier_model.objects.create(
            number=number,
            name=name,
            description=description,
            default_max_output_tokens=default_tokens,
            floor_max_output_tokens=floor_tokens,
        )


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_pricing")]
    operations = [migrations.RunPython(add_tiers, migrations.RunPython.noop)]
