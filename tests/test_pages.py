"""Every page, with every role and with none."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from webapp import demo
from webapp.actions import escalations, people, snapshots
from webapp.models import (
    Case,
    Delivery,
    Export,
    Import,
    LabelStudioProject,
    ModelVersion,
    Promotion,
    Run,
    SavedView,
    Schema,
    Subscription,
)
from webapp.roles import EVERYONE, STAFF, Role
from webapp.urls import urlpatterns

A, S, M = Role.ANNOTATOR, Role.SUPERVISOR, Role.ADMIN
OPEN = None  # For everybody, signed in or not

# Who may reach what; a new address fails the walk until it is listed here
REACH = {
    "home": EVERYONE,
    "label": (A,),
    "open-label-studio": (A,),
    "now": EVERYONE,
    "figures": STAFF,
    "chart": STAFF,
    "receipts": EVERYONE,
    "keys": EVERYONE,
    "glossary": EVERYONE,
    "status": STAFF,
    "label-studio": (M,),
    "examine-label-studio": (M,),
    "alive": OPEN,
    "ready": OPEN,
    "metrics": OPEN,
    "language": OPEN,
    "sign-in": OPEN,
    "sign-in-code": OPEN,
    "sign-out": OPEN,
    "queue": STAFF,
    "next-case": (S,),
    "search-queue": STAFF,
    "save-view": STAFF,
    "remove-view": STAFF,
    "case": EVERYONE,
    "hold": (S,),
    "release": (S,),
    "leave": (S,),
    "reveal": STAFF,
    "similar": STAFF,
    "draft": (S,),
    "discard-draft": (S,),
    "undo": (S,),
    "hide-names": STAFF,
    "send-back": (S,),
    "second-opinion": (S,),
    "escalate": EVERYONE,
    "erase": (M,),
    "alerts": STAFF,
    "alert-bar": STAFF,
    "acknowledge": STAFF,
    "agreement": STAFF,
    "imports": (M,),
    "import": (M,),
    "confirm-import": (M,),
    "export": (M,),
    "exports": (M,),
    "export-page": (M,),
    "export-file": (M,),
    "models": STAFF,
    "schemas": (M,),
    "apply-schema": (M,),
    "schedule": (M,),
    "set-schedule": (M,),
    "retrain": (M,),
    "resume-run": (M,),
    "run": STAFF,
    "cancel-run": (M,),
    "version": STAFF,
    "promote": (M,),
    "roll-back": (M,),
    "promotion": STAFF,
    "snapshot": STAFF,
    "webhooks-out": (M,),
    "webhook-out": (M,),
    "test-webhook": (M,),
    "pause-webhook": (M,),
    "resume-webhook": (M,),
    "remove-webhook": (M,),
    "replay-webhook": (M,),
    "policy": STAFF,
    "policy-of": STAFF,
    "try-policy": (M,),
    "set-policy": (M,),
    "restore-policy": (M,),
    "account": EVERYONE,
    "two-factor": EVERYONE,
    "begin-two-factor": EVERYONE,
    "confirm-two-factor": EVERYONE,
    "backup-codes": EVERYONE,
    "remove-two-factor": EVERYONE,
    "tokens": STAFF,
    "revoke-token": STAFF,
    "set-password": OPEN,
    "people": (M,),
    "audit": (M,),
    "export-audit": (M,),
    "add-person": (M,),
    "change-role": (M,),
    "reset-password": (M,),
    "reset-two-factor": (M,),
    "deactivate": (M,),
    "reactivate": (M,),
    "label-studio-webhook": OPEN,
    "backend-health": OPEN,
    "backend-setup": OPEN,
    "backend-predict": OPEN,
    "backend-webhook": OPEN,
}
PAGES = [found for found in urlpatterns if isinstance(found, URLPattern)]
IDS = ("made", "real")
POSTED = {
    "next-case",
    "search-queue",
    "save-view",
    "remove-view",
    "release",
    "leave",
    "reveal",
    "draft",
    "discard-draft",
    "hide-names",
    "undo",
    "send-back",
    "second-opinion",
    "escalate",
    "acknowledge",
    "confirm-import",
    "export",
    "export-audit",
    "apply-schema",
    "set-schedule",
    "retrain",
    "resume-run",
    "cancel-run",
    "promote",
    "roll-back",
    "try-policy",
    "set-policy",
    "restore-policy",
    "begin-two-factor",
    "confirm-two-factor",
    "backup-codes",
    "remove-two-factor",
    "revoke-token",
    "add-person",
    "change-role",
    "reset-password",
    "reset-two-factor",
    "deactivate",
    "reactivate",
    "test-webhook",
    "pause-webhook",
    "resume-webhook",
    "remove-webhook",
    "replay-webhook",
    "sign-out",
    "language",
    "examine-label-studio",
    "label-studio-webhook",
}


def furnish(helpline: Schema, case: Case) -> dict[str, int]:
    """Make one thing of each kind that has a page, and return the number of each by the name of its address."""
    version = ModelVersion.objects.create(
        schema=helpline, schema_version=helpline.versions.get(), kind="trained", number=1
    )
    run = Run.objects.create(schema=helpline, schema_version=helpline.versions.get())
    numbers = {
        "case": case.pk,
        "hold": case.pk,
        "erase": case.pk,
        "release": case.pk,
        "leave": case.pk,
        "version": version.pk,
        "promote": version.pk,
    }
    other = people.create("other", email="other@example.org", password="a-long-password", role=A).pk
    row = Promotion.objects.create(schema=helpline, version=version, reason="the first")
    numbers |= {"roll-back": version.pk, "promotion": row.pk, "snapshot": snapshots.take(version.schema_version).pk}
    numbers |= dict.fromkeys(("change-role", "reset-password", "reset-two-factor"), other)
    numbers |= {"run": run.pk, "cancel-run": run.pk, "resume-run": run.pk, "deactivate": other, "reactivate": other}
    numbers |= dict.fromkeys(
        ("reveal", "draft", "discard-draft", "similar", "hide-names", "send-back", "second-opinion", "escalate"),
        case.pk,
    )
    raised = escalations.escalate(case, people.create("z", email="z@z.org", password="a-long-password", role=S))
    numbers |= {"acknowledge": raised.pk, "restore-policy": helpline.policies.latest("id").pk}
    LabelStudioProject.objects.create(schema=helpline, schema_version=helpline.versions.get(), project=1)
    hook = Subscription.objects.create(address="https://example.org/", events=[])
    numbers |= dict.fromkeys(("webhook-out", "test-webhook", "pause-webhook", "resume-webhook"), hook.pk)
    gone = Subscription.objects.create(address="https://example.org/gone", events=[])
    now = timezone.now()
    told = Delivery.objects.create(subscription=hook, event="test", payload={}, wanted_at=now, due_at=now)
    numbers |= {"remove-webhook": gone.pk, "replay-webhook": told.pk}
    file = Export.objects.create(schema=helpline, format="csv")
    numbers |= {"export-page": file.pk, "export-file": file.pk}
    return numbers


def test_every_address_is_listed_with_its_roles() -> None:
    assert {pattern.name for pattern in PAGES} == set(REACH)
    # tests/test_api_access.py walks these
    assert {found.namespace for found in urlpatterns if isinstance(found, URLResolver)} == {"api-v1", "dropins"}


@pytest.mark.parametrize("role", [None, A, S, M], ids=["nobody", "annotator", "supervisor", "admin"])
def test_each_role_reaches_its_pages_and_no_others(role, helpline, import_rows, signed_in) -> None:
    import_rows(helpline, {"id": "1", "text": "A caller asks for help."})
    numbers = furnish(helpline, Case.objects.get())
    client = signed_in(role) if role else Client()
    if role:
        mine = User.objects.get(username=role)
        numbers["revoke-token"] = mine.tokens.create(
            name="mine", digest="0", scopes=["cases:read"], expires_at=timezone.now()
        ).pk
        numbers["remove-view"] = SavedView.objects.create(owner=User.objects.get(username=role), name="mine").pk
    for pattern in sorted(PAGES, key=lambda pattern: pattern.name == "sign-out"):  # Last: it ends the session
        path = address(pattern, numbers.get(str(pattern.name), Import.objects.get().pk))
        answer = client.post(path) if pattern.name in POSTED else client.get(path)
        roles = REACH[str(pattern.name)]
        if roles is OPEN:
            assert answer.status_code < 500, path
        elif role is None:
            assert answer.headers.get("Location", "").startswith("/sign-in/"), path
        elif role not in roles:
            assert answer.status_code == 403, path
        elif pattern.name in ("case", "escalate") and role == A:
            assert answer.status_code == 404, "an annotator must not see a case that is not theirs"
        else:
            assert answer.status_code in (200, 204, 302, 409, 422), (path, answer.status_code)


def test_a_part_of_a_page_is_not_replaced_by_the_sign_in_page(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "A caller asks for help."})
    answer = Client().get(f"/cases/{Case.objects.get().pk}/hold/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.content) == (401, b"")


def test_a_stored_script_is_shown_as_text(helpline, import_rows, signed_in) -> None:
    script = "<script>alert(1)</script>"
    import_rows(helpline, {"id": script, "text": f"Caller: {script} help", "county": script})
    page = signed_in(S).get(f"/cases/{Case.objects.get().pk}/").content.decode()
    assert script not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


def test_pages_say_which_cases_are_synthetic(helpline, import_rows, signed_in) -> None:
    import_rows(
        helpline, {"id": "made", "text": "a", "source": demo.SOURCE}, {"id": "real", "text": "b", "source": "line"}
    )
    desk = signed_in(S)
    page = {name: desk.get(f"/cases/{Case.objects.get(external_id=name).pk}/").content.decode() for name in IDS}
    assert ["synthetic, written for the demo" in page[name] for name in IDS] == [True, False]
    rows = desk.get("/queue/?state=new").content.decode().split("<li>")[1:]
    assert [(name in row, "demo, synthetic<" in row) for row, name in zip(rows, IDS, strict=True)] == [
        (True, True),
        (True, False),
    ]
    assert "1 of these cases is synthetic" in desk.get("/").content.decode()
    Case.objects.filter(external_id="made").update(source="line")
    assert "synthetic" not in desk.get("/").content.decode()


def test_pages_forbid_inline_scripts_and_other_sites(signed_in) -> None:
    policy = signed_in(S).get("/queue/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def address(pattern: URLPattern, number: int) -> str:
    """Return where a page with this number is."""
    values = {"<int:pk>": str(number), "<slug:schema>": "helpline", "<slug:name>": "queue"}
    values |= {"<str:uidb64>": "MQ", "<str:token>": "set-password"}
    path = "/" + str(pattern.pattern)
    for name, value in values.items():
        path = path.replace(name, value)
    return path
