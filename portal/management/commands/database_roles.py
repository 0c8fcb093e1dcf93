"""`manage.py database_roles`: the rights of the role that serves, printed or applied."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from portal.roles import APP_ROLE, grants, rights_of_role


class Command(BaseCommand):
    """Gives the serving role exactly its rights. Run it after every `migrate`."""

    help = "Print the GRANTs of the role that serves, or apply them as the role that owns the tables."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--app", default=APP_ROLE, metavar="ROLE", help="the role that serves")
        parser.add_argument(
            "--apply", action="store_true", help="run the statements instead of printing them"
        )

    def handle(self, *, app: str, apply: bool, **_options: Any) -> None:
        """Print or apply."""
        statements = grants(connection, app_role=app)
        if not apply:
            self.stdout.write("BEGIN;\n" + ";\n".join(statements) + ";\nCOMMIT;")
            return
        here = rights_of_role(connection)
        if here.role == app or not here.owns:
            raise CommandError(
                f"The role {here.role} cannot grant these rights to {app}: set MIGRATE_DATABASE_URL to the"
                " address of the role that owns the tables, and run `manage.py migrate` first."
            )
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [app])
            if cursor.fetchone() is None:
                raise CommandError(
                    f"There is no role {app}. Make it: CREATE ROLE {app} LOGIN PASSWORD '...';"
                )
            for statement in statements:
                cursor.execute(statement)
        self.stdout.write(f"{app} serves with exactly its rights: {len(statements)} statements.")
