"""Who works here: people, departments, teams, projects, and the roles that people hold for a time."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeBoundary, RangeOperators
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Exists, F, Func, OuterRef, Q
from django.db.models.functions import Lower

from core.clock import now
from core.ids import PublicIdField

CODE_PATTERN = r"^[a-z0-9][a-z0-9-]{1,62}$"
code_validator = RegexValidator(CODE_PATTERN, "Use 2 to 63 small letters, digits and hyphens.")


class TsTzRange(Func):
    """The half-open range [valid_from, valid_until) in SQL; an open end is infinity."""

    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


def validity_range() -> TsTzRange:
    """Return the expression that exclusion constraints compare."""
    return TsTzRange("valid_from", "valid_until", RangeBoundary())


if TYPE_CHECKING:
    _BaseManager = BaseUserManager["User"]
else:
    _BaseManager = BaseUserManager


class UserManager(_BaseManager):
    """Makes people; an e-mail address is kept in lower case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create one person with a usable password, or none when `password` is None."""
        if not email:
            raise ValueError("A person needs an e-mail address.")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create somebody who may enter Django's own admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, signed in by e-mail address.

    `external_id` is what the provider's directory calls him; since `removed_at`, when it dropped him, it does
    not find him.
    """

    public_id = PublicIdField(prefix="usr")
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=150)
    is_active = models.BooleanField(default=True)
    external_id = models.CharField(max_length=254, blank=True, default="")
    removed_at = models.DateTimeField(null=True, blank=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=now)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["name"]

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_is_lower_case"),
            models.CheckConstraint(
                condition=Q(removed_at__isnull=True) | Q(is_active=False), name="user_removed_is_not_active"
            ),
        )

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def label(self) -> str:
        """Return how the audit names this person, for ever."""
        return f"{self.name} <{self.email}>"


_Row = TypeVar("_Row", bound=models.Model)


class ValidityQuerySet(models.QuerySet[_Row]):
    """Rows that hold in [valid_from, valid_until)."""

    def live(self, at: datetime | None = None) -> Self:
        """Return the rows that hold at `at`, or now."""
        moment = at or now()
        return self.filter(Q(valid_until__isnull=True) | Q(valid_until__gt=moment), valid_from__lte=moment)


class DepartmentQuerySet(models.QuerySet["Department"]):
    """Departments, as people may see them."""

    def visible_to(self, user: User) -> Self:
        """Return the departments that the user directs; organisation-wide roles see all."""
        return self.filter(
            sees_everything(user)
            | Q(pk__in=_live_roles(user).filter(role=Role.DIRECTOR).values("department"))
        )


class TeamQuerySet(models.QuerySet["Team"]):
    """Teams, as people may see them."""

    def overseen_by(self, user: User) -> Self:
        """Return the teams that the user leads or directs; organisation-wide roles oversee all."""
        return self.filter(oversees(user, team=OuterRef("pk"), department=OuterRef("department")))

    def visible_to(self, user: User) -> Self:
        """Return the teams that the user works in or oversees."""
        return self.filter(
            oversees(user, team=OuterRef("pk"), department=OuterRef("department"))
            | Q(pk__in=_live_teams(user))
        )


class ProjectQuerySet(models.QuerySet["Project"]):
    """Projects, as people may see them."""

    def visible_to(self, user: User) -> Self:
        """Return the projects of the teams that the user works in or oversees."""
        return self.filter(
            oversees(user, team=OuterRef("team"), department=OuterRef("team__department"))
            | Q(team__in=_live_teams(user))
        )

    def open(self) -> Self:
        """Return the projects that may still spend."""
        return self.filter(archived_at__isnull=True, team__archived_at__isnull=True)

    def workable_by(self, user: User) -> Self:
        """Return the open projects whose team the user works in or leads: there he may ask for keys."""
        leads = _live_roles(user).filter(role=Role.LEAD).values("team")
        return self.open().filter(Q(team__in=_live_teams(user)) | Q(team__in=leads))


class Department(models.Model):
    """The largest unit with a director; every team and every budget row belongs to one."""

    public_id = PublicIdField(prefix="dep")
    code = models.CharField(max_length=63, unique=True, validators=[code_validator])
    name = models.CharField(max_length=120)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = DepartmentQuerySet.as_manager()

    class Meta:
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class Team(models.Model):
    """People who spend together, with a lead."""

    public_id = PublicIdField(prefix="tem")
    code = models.CharField(max_length=63, unique=True, validators=[code_validator])
    name = models.CharField(max_length=120)
    department = models.ForeignKey(Department, on_delete=models.PROTECT, related_name="teams")
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = TeamQuerySet.as_manager()

    class Meta:
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    """What money is spent on. `code` is the project-id that callers send."""

    public_id = PublicIdField(prefix="prj")
    code = models.CharField(max_length=63, unique=True, validators=[code_validator])
    name = models.CharField(max_length=120)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="projects")
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="owned_projects")
    cost_centre = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=now)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class NamedKind(models.TextChoices):
    """What may be renamed."""

    DEPARTMENT = "department", "Department"
    TEAM = "team", "Team"
    PROJECT = "project", "Project"
    KEY = "key", "Key"
    PERSON = "person", "Person"


class FormerName(models.Model):
    """What somebody or something was called until a moment, so that the past keeps its labels.

    Insert-only (trigger).
    """

    kind = models.CharField(max_length=10, choices=NamedKind)
    object_id = models.BigIntegerField()
    name = models.CharField(max_length=150)
    used_until = models.DateTimeField()

    class Meta:
        ordering = ("used_until", "id")
        indexes = (models.Index(fields=("kind", "object_id", "used_until"), name="former_name_by_object"),)

    def __str__(self) -> str:
        return f"{self.name} until {self.used_until:%Y-%m-%d %H:%M}"


class Membership(models.Model):
    """A person's time in a team, [valid_from, valid_until). Times in one team never overlap."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="memberships")
    valid_from = models.DateTimeField(default=now)
    valid_until = models.DateTimeField(null=True, blank=True)

    objects = ValidityQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")),
                name="membership_ends_after_it_starts",
            ),
            ExclusionConstraint(
                name="membership_once_at_a_time",
                expressions=[
                    ("user", RangeOperators.EQUAL),
                    ("team", RangeOperators.EQUAL),
                    (validity_range(), RangeOperators.OVERLAPS),
                ],
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"


class Role(models.TextChoices):
    """What a person may decide. A member of a team needs no assignment."""

    LEAD = "lead", "Team lead"
    DIRECTOR = "director", "Director"
    FINANCE = "finance", "Finance"
    AUDITOR = "auditor", "Auditor"
    ADMIN = "admin", "Administrator"


class RoleSource(models.TextChoices):
    """Who gave a role, and who alone takes it away again by himself."""

    PORTAL = "portal", "Given here"
    SIGN_IN = "sign_in", "From the identity provider, at sign-in"
    DIRECTORY = "directory", "From the directory"


class RoleAssignment(models.Model):
    """A role held for a time: lead of one team, director of one department, the others everywhere."""

    public_id = PublicIdField(prefix="rol")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="role_assignments")
    role = models.CharField(max_length=16, choices=Role)
    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, null=True, blank=True, related_name="role_assignments"
    )
    department = models.ForeignKey(
        Department, on_delete=models.PROTECT, null=True, blank=True, related_name="role_assignments"
    )
    valid_from = models.DateTimeField(default=now)
    valid_until = models.DateTimeField(null=True, blank=True)
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    source = models.CharField(max_length=10, choices=RoleSource, default=RoleSource.PORTAL)

    objects = ValidityQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=(
                    Q(role=Role.LEAD, team__isnull=False, department__isnull=True)
                    | Q(role=Role.DIRECTOR, team__isnull=True, department__isnull=False)
                    | Q(
                        role__in=(Role.FINANCE, Role.AUDITOR, Role.ADMIN),
                        team__isnull=True,
                        department__isnull=True,
                    )
                ),
                name="role_has_the_scope_it_needs",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")),
                name="role_ends_after_it_starts",
            ),
        )

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()}"


class DirectoryGroup(models.Model):
    """A group of the identity provider's directory; which role it stands for is declared in the settings."""

    public_id = PublicIdField(prefix="grp")
    name = models.CharField(max_length=254, unique=True)
    external_id = models.CharField(max_length=254, blank=True, default="")
    members = models.ManyToManyField(User, related_name="directory_groups")

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.name


ORGANISATION_WIDE = (Role.FINANCE, Role.AUDITOR, Role.ADMIN)


def _live_roles(user: User) -> models.QuerySet[RoleAssignment]:
    return RoleAssignment.objects.live().filter(user=user, user__is_active=True)


def _live_teams(user: User) -> models.QuerySet[Membership, Any]:
    return Membership.objects.live().filter(user=user, user__is_active=True).values("team")


def sees_everything(user: User) -> Q:
    """Return the condition that a live role shows the whole organisation to the user; it is about no row."""
    return Q(Exists(_live_roles(user).filter(role__in=ORGANISATION_WIDE)))


def oversees(user: User, *, team: Any, department: Any) -> Q:
    """Return the condition that a live role shows this team and department of a row to the user."""
    here = Q(role=Role.LEAD, team=team) | Q(role=Role.DIRECTOR, department=department)
    return Q(Exists(_live_roles(user).filter(Q(role__in=ORGANISATION_WIDE) | here)))
