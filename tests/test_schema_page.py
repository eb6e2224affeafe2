"""The page of schema versions: what a file would change, and applying it with a reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from lxml import html

from ml import schema
from tests import tiny
from tests.test_succession import document, newer, things, toy
from webapp.actions import runs, succession
from webapp.models import AuditEvent, Case, Label, Run, Schema
from webapp.roles import Role

__all__ = ["newer", "toy"]  # Fixtures
PAGE, APPLY = "/models/schemas/", "/models/schemas/apply/"


@pytest.fixture
def admin(signed_in: Callable[..., Client]) -> Client:
    return signed_in(Role.ADMIN)


def upload(client: Client, text: str | bytes) -> html.HtmlElement:
    content = text if isinstance(text, bytes) else text.encode()
    answer = client.post(PAGE, {"file": SimpleUploadedFile("toy.toml", content)})
    return html.fromstring(answer.content)


def rows(page: html.HtmlElement, heading: str) -> list[list[str]]:
    table = page.xpath(f"//h2[contains(., '{heading}')]/following::table[1]")[0]
    return [[cell.text_content().strip() for cell in row] for row in table.xpath("./tbody/tr")]


def test_without_a_schema_the_page_says_how_to_get_one(db: None, admin: Client) -> None:
    assert "register_schemas" in html.fromstring(admin.get(PAGE).content).xpath("string(//p[@class='empty'])")


def test_the_preview_says_what_each_change_touches_and_changes_nothing(toy: Schema, admin: Client) -> None:
    page = upload(admin, document())
    assert rows(page, "What version 2 of Toy changes") == [
        ["thing.ship: renamed", "1", "1", "0"],
        ["thing.wave: merged into ship", "1", "1", "0"],
        ["thing.hill: renamed, now mound", "1", "1", "0"],
        ["thing.road: removed", "1", "1", "0"],
        ["thing.lake: added", "0", "0", "0"],
    ]
    assert toy.versions.count() == 1


def test_what_was_previewed_is_applied_with_the_reason(toy: Schema, newer: schema.Schema, admin: Client) -> None:
    form = upload(admin, document()).xpath("//form[contains(@action, 'apply')]")[0]
    given = form.fields["document"].replace("\n", "\r\n")  # As browsers send it
    answer = admin.post(APPLY, {**form.fields, "document": given, "reason": "waves are ships"}, follow=True)
    page = html.fromstring(answer.content)
    assert "toy 2 is in use. 3 cases translated; 1 go back to annotators." in page.text_content()
    assert toy.versions.get(number=2).digest == newer.digest, "the document came back as it was sent"
    assert things() == {"ship": ["ship"], "wave": ["ship"], "hill": ["mound"], "road": [], "open": []}
    assert Case.objects.get(external_id="road").state == "labelling"
    newest, first = rows(page, "Toy")
    assert (newest[0], newest[2:]) == ("2", ["admin", "waves are ships", "5", "8"])
    assert (first[0], first[2:4]) == ("1", ["Caseloop", "the first"])
    assert AuditEvent.objects.get(action="schema applied").facts["reason"] == "waves are ships"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "The file is not in UTF-8."),
        ("name = ", "The file is no schema"),
        (tiny.SCHEMA, "It cannot be applied: version is 1; expected more than 1, which is in use."),
        ("x" * (2**20 + 1), "expected at most 1,048,576"),
    ],
    ids=["no text", "no schema", "an old version", "too large"],
)
def test_a_file_that_cannot_be_applied_is_refused_in_words(toy: Schema, admin: Client, content, said: str) -> None:
    page = upload(admin, content)
    assert said in page.text_content()
    assert not page.xpath("//form[contains(@action, 'apply')]")


def test_nothing_is_applied_without_a_reason(toy: Schema, admin: Client) -> None:
    answer = admin.post(APPLY, {"document": document(), "reason": " "})
    assert answer.status_code == 422
    assert rows(html.fromstring(answer.content), "What version 2 of Toy changes"), "the preview is still there"
    assert toy.versions.count() == 1


def test_what_another_admin_applied_meanwhile_stands(toy: Schema, admin: Client) -> None:
    for reason in ("the first time", "the second time"):
        answer = admin.post(APPLY, {"document": document(), "before": 1, "reason": reason}, follow=True)
    assert "Nothing was changed: version is 2; expected more than 2" in answer.content.decode()
    assert AuditEvent.objects.filter(action="schema applied").count() == 1


def test_a_training_that_is_under_way_is_named(toy: Schema, admin: Client) -> None:
    assert Label.objects.count()
    run = Run.objects.create(schema=toy, schema_version=toy.versions.get())
    assert runs.claim(run.pk)
    assert f"Training {run.pk} is under way" in upload(admin, document()).text_content()


def test_a_preview_of_what_is_not_in_use_any_more_is_not_applied(toy: Schema, admin: Client) -> None:
    later = document().replace("version = 2", "version = 3")
    form = upload(admin, later).xpath("//form[contains(@action, 'apply')]")[0]
    succession.apply(schema.parse(document()), by=None)
    answer = admin.post(APPLY, {**form.fields, "reason": "seen before"}, follow=True)
    said = html.fromstring(answer.content).text_content()
    assert "Nothing was changed: version 2 was put in use meanwhile; look at what changes once more." in said
    assert [row.number for row in toy.versions.order_by("number")] == [1, 2]
    assert rows(html.fromstring(answer.content), "Toy")[0][3] == "\u2013"


@pytest.mark.parametrize(
    ("content", "said"),
    [("a = " + "[" * 5000, "brackets"), (tiny.SCHEMA.replace("version = 1", f"version = {2**40}"), "expected 1 to")],
    ids=["deep", "high"],
)
def test_a_file_made_to_break_the_page_is_refused(toy: Schema, admin: Client, content: str, said: str) -> None:
    assert said in upload(admin, content).text_content()


def test_a_byte_order_mark_is_passed_over_and_nothing_is_refused_without_a_word(toy: Schema, admin: Client) -> None:
    assert "What version 2 of Toy changes" in upload(admin, b"\xef\xbb\xbf" + document().encode()).text_content()
    answer = admin.post(APPLY, {"reason": "no document"})
    assert answer.status_code == 422
    assert "Nothing was changed: This field is required." in html.fromstring(answer.content).text_content()
