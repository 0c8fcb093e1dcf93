from django.db import migrations


class Migration(migrations.Migration):
    """End all sessions: their keys lie in the database as browsers hold them, and nothing finds them so again."""

    dependencies = [
        ("sessions", "0001_initial"),
        ("teams", "0004_people_and_directory"),
        ("usersessions", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            "DELETE FROM usersessions_usersession; DELETE FROM django_session",
            reverse_sql="DELETE FROM usersessions_usersession; DELETE FROM django_session",
        ),
    ]
