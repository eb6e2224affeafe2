"""People: who can be added, and who a Label Studio user is."""

from __future__ import annotations

import importlib

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from webapp.actions import people
from webapp.errors import NotAddable
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
