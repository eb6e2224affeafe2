"""People: who can be added, who a Label Studio user is, and who is let in there."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from tests.test_commands import run
from webapp import tasks
from webapp.actions import access, people
from webapp.errors import NotAddable
from webapp.models import AuditEvent, Case
from webapp.roles import Role

doubles = importlib.import_module("migrations.0005_one_person_by_email")


def add(name: str = "amina", email: str = "amina@example.org") -> User:
    return people.create(name, email=email, password="a-long-password", role=Role.ANNOTATOR)


def test_a_person_has_a_role_a_password_and_an_address_in_small_letters(db) -> None:
    user = add(email=" Amina@Example.ORG ")
    assert (user.email, user.check_password("a-long-password")) == ("amina@example.org", True)
    assert [group.name for group in user.groups.all()] == [Role.ANNOTATOR.value]


@pytest.mark.parametrize(
    ("name", "email", "message"),
    [
        ("otieno", "AMINA@example.org", "the address amina@example.org belongs to somebody already; choose another"),
        ("amina", "otieno@example.org", "the name amina belongs to somebody already; choose another"),
        (
            "otieno",
            "Admin@Caseloop.local",
            "admin@caseloop.local belongs to the owner of Label Studio; choose another address",
        ),
        ("otieno", " ", "otieno has no e-mail address; expected one that nobody else has"),
        ("otieno", "otieno", "email is 'otieno': Enter a valid email address."),
        (
            "o t",
            "otieno@example.org",
            (
                "username is 'o t': Enter a valid username. This value may contain only letters, numbers, and "
                "@/./+/-/_ characters."
            ),
        ),
    ],
    ids=["address in other case", "name", "reserved", "no address", "not an address", "not a name"],
)
def test_a_person_who_cannot_be_added_is_refused_with_the_reason(db, name, email, message) -> None:
    add()
    with pytest.raises(NotAddable) as refused:
        add(name, email)
    assert str(refused.value) == message
    assert [user.username for user in User.objects.all()] == ["amina"]


def test_the_database_holds_an_address_once_whatever_its_case(db) -> None:
    add()
    with pytest.raises(IntegrityError, match="one_person_by_email"), transaction.atomic():
        User.objects.create(username="otieno", email="Amina@example.org")
    User.objects.create(username="a")
    User.objects.create(username="b")


def test_people_who_share_an_address_before_the_migration_are_named(db) -> None:
    add()
    with connection.cursor() as cursor:
        cursor.execute(doubles.REVERSE)
    User.objects.create(username="otieno", email="Amina@example.org")
    with connection.schema_editor() as editor, pytest.raises(RuntimeError) as refused:
        doubles.refuse_doubles(apps, editor)
    assert str(refused.value).startswith("these people share an e-mail address: amina, otieno. Expected one for each")


def test_a_label_studio_user_is_the_person_with_that_address_in_any_case(db) -> None:
    user = add()
    User.objects.filter(pk=user.pk).update(email="Amina@Example.org")  # As another program may have stored it
    assert people.annotator_from_label_studio(7, "aminA@example.org").user == user


def test_somebody_with_a_number_that_another_had_is_not_that_other(db) -> None:
    amina, otieno = add(), add("otieno", "otieno@example.org")
    assert people.annotator_from_label_studio(7, amina.email).user == amina
    assert people.annotator_from_label_studio(7, otieno.email).user == otieno  # Label Studio was set up anew
    assert people.annotator_from_label_studio(7, "stranger@example.org").user is None
    assert people.annotator_of(amina).label_studio_user is None
    assert people.annotator_from_label_studio(7, None) == people.annotator_from_label_studio(7, "Stranger@example.org")


def test_what_somebody_did_before_we_knew_them_stays_theirs(db) -> None:
    before = people.annotator_from_label_studio(7, "amina@example.org")
    assert (before.user, before.name) == (None, "amina@example.org")
    user = add()
    found = people.annotator_from_label_studio(7, "amina@example.org")
    assert (found, found.user, found.name) == (before, user, "amina")


# --- Leaving ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(settings, tmp_path) -> Callable[[], list[str]]:
    """Whom the embedded Label Studio is told to let in."""
    settings.LABEL_STUDIO_IS_EMBEDDED = True
    settings.LABEL_STUDIO_PEOPLE = tmp_path / "label-studio" / "people.json"
    return lambda: json.loads(settings.LABEL_STUDIO_PEOPLE.read_text())


def test_the_embedded_label_studio_is_told_the_annotators_who_are_active(db, named, settings) -> None:
    add()
    people.create("chiku", email="chiku@example.org", password="a-long-password", role=Role.SUPERVISOR)
    access.tell()
    before = settings.LABEL_STUDIO_PEOPLE.stat()
    assert (named(), before.st_mode & 0o777) == (["amina@example.org"], 0o600)
    access.tell()
    assert settings.LABEL_STUDIO_PEOPLE.stat().st_mtime_ns == before.st_mtime_ns, "nothing changed"
    User.objects.update(is_active=False)  # By whatever way; the next poll tells
    tasks.poll_label_studio()
    assert named() == []


def test_of_another_label_studio_nothing_is_told(db, named, settings) -> None:
    settings.LABEL_STUDIO_IS_EMBEDDED = False
    access.tell()
    assert not settings.LABEL_STUDIO_PEOPLE.exists()


def test_whoever_is_deactivated_is_out_and_gives_back_what_they_held(
    helpline, import_rows, signed_in, named, django_capture_on_commit_callbacks
) -> None:
    desk, admin = signed_in(Role.ANNOTATOR, "amina"), signed_in(Role.ADMIN)
    user = User.objects.get(username="amina")
    import_rows(helpline, {"id": "1", "text": "a"})
    Case.objects.update(held_by=user, held_until=timezone.now() + timedelta(minutes=9))
    assert desk.get("/label/").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        admin.post(f"/people/{user.pk}/deactivate/")
    assert desk.get("/label/").headers["Location"].startswith("/sign-in/")
    assert (named(), Case.objects.get().held_by) == ([], None)
    assert list(AuditEvent.objects.filter(subject=f"person {user.pk}").values_list("actor__username", "action")) == [
        ("admin", "person deactivated")
    ]
    with django_capture_on_commit_callbacks(execute=True):
        admin.post(f"/people/{user.pk}/reactivate/")
    assert named() == ["amina@example.org"]


def test_nobody_deactivates_themselves(signed_in) -> None:
    admin = signed_in(Role.ADMIN)
    page = admin.post(f"/people/{User.objects.get().pk}/deactivate/", follow=True).content.decode()
    assert "You cannot deactivate yourself; another admin can." in page
    assert User.objects.get().is_active


def test_of_another_label_studio_page_and_command_say_that_access_there_stays(signed_in, settings) -> None:
    admin = signed_in(Role.ADMIN)
    add()
    settings.LABEL_STUDIO_URL, settings.LABEL_STUDIO_IS_EMBEDDED = "https://labels.example.org", False
    assert "cannot end anybody's access there" in page_of(admin)
    out, _ = run("deactivate_person", "amina")
    assert out == ["amina is deactivated.", "Their access to https://labels.example.org has to be ended there."]
    settings.LABEL_STUDIO_IS_EMBEDDED = True
    assert "is out of Label Studio too" in page_of(admin)
    with pytest.raises(CommandError, match="there is no person called 'nobody'"):
        run("deactivate_person", "nobody")


def page_of(admin: Client) -> str:
    return admin.get("/people/").content.decode()
