from django.db import migrations

# Tier, the role that decides, days of access. A new version is made in the portal.
POLICIES = ((2, "lead", 90), (3, "director", 30))


def add_policies(apps, schema_editor):
    policy = apps.get_model("approvals", "Policy")
    for tier, role, days in POLICIES:
        stages = [{"role": role, "quorum": 1}]
        if not policy.objects.filter(tier_id=tier).exists():
            policy.objects.create(tier_id=tier, version=1, stages=stages, default_days=days, max_days=days)


class Migration(migrations.Migration):
    dependencies = [("approvals", "0002_guards"), ("catalog", "0003_default_tiers")]
    operations = [migrations.RunPython(add_policies, migrations.RunPython.noop)]
