"""The ledger says which version is in use."""

from __future__ import annotations

import pytest

from tests.conftest import trained_version
from webapp.actions import promotions
from webapp.errors import NotPromotable
from webapp.models import AuditEvent, ModelVersion, Promotion, SchemaVersion
from webapp.queries import schemas
from webapp.roles import Role


def test_before_the_first_promotion_the_definitions_answer(helpline) -> None:
    trained_version(helpline)
    assert schemas.champion(helpline) is None
    assert schemas.answering_version(helpline) == helpline.model_versions.get(kind="definitions")


def test_the_newest_row_of_the_ledger_names_the_version_in_use(helpline, person) -> None:
    admin, first, second = person(Role.ADMIN), trained_version(helpline, 1), trained_version(helpline, 2)
    promotions.promote(first, by=admin, reason="the first")
    promotions.promote(second, by=admin, reason="better", report={"snapshot": 3})
    assert schemas.champion(helpline) == schemas.answering_version(helpline) == second
    ledger = Promotion.objects.order_by("pk").values_list("version", "replaced", "reason", "report", "promoted_by")
    assert list(ledger) == [
        (first.pk, None, "the first", {}, admin.pk),
        (second.pk, first.pk, "better", {"snapshot": 3}, admin.pk),
    ]
    events = AuditEvent.objects.filter(action="version promoted").order_by("pk")
    assert list(events.values_list("subject", "facts")) == [
        (f"version {first.pk}", {"replaced": None}),
        (f"version {second.pk}", {"replaced": first.pk}),
    ]


def test_an_earlier_version_can_be_put_in_use_again(helpline) -> None:
    first, second = trained_version(helpline, 1), trained_version(helpline, 2)
    for version in (first, second, first):
        promotions.promote(version, by=None, reason="a test")
    assert schemas.champion(helpline) == first
    assert list(Promotion.objects.order_by("pk").values_list("version", flat=True)) == [
        first.pk,
        second.pk,
        first.pk,
    ]


def test_a_version_that_is_in_use_cannot_be_promoted(helpline) -> None:
    version = trained_version(helpline, 1)
    promotions.promote(version, by=None, reason="the first")
    with pytest.raises(NotPromotable, match=r"^Version 1 is in use already\.$"):
        promotions.promote(version, by=None, reason="again")
    assert Promotion.objects.get().reason == "the first"


def test_the_label_definitions_cannot_be_promoted(helpline) -> None:
    with pytest.raises(NotPromotable, match=r"^The label definitions are not a trained version; train one first\.$"):
        promotions.promote(ModelVersion.objects.get(schema=helpline), by=None, reason="why not")
    assert list(Promotion.objects.all()) == []


def test_a_version_of_an_older_schema_cannot_be_promoted(helpline) -> None:
    version = trained_version(helpline, 1)
    document = helpline.versions.get().document
    SchemaVersion.objects.create(schema=helpline, number=2, document=document, digest="x")
    with pytest.raises(NotPromotable, match=r"^Version 1 was trained for an older schema; train one for helpline 2\.$"):
        promotions.promote(version, by=None, reason="why not")


def test_open_cases_are_predicted_again_only_after_the_commit(
    helpline, sent, django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        promotions.promote(trained_version(helpline), by=None, reason="the first")
        assert sent == []
    assert sent == [("predict_cases", helpline.pk)]
