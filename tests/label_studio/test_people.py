"""People of ours in a real Label Studio: how they come in, what is theirs, and how they go."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from tests.label_studio.conftest import NEGLECT, in_label_studio, labels_of, submit, task_of
from webapp.actions import access, linking, people
from webapp.actions import label_studio as sync
from webapp.models import Annotation, Annotator
from webapp.roles import Role

pytestmark = [pytest.mark.label_studio, pytest.mark.usefixtures("embedded")]


def number_there(browser: httpx.Client, email: str) -> list[int]:
    return [user["id"] for user in browser.get("/api/users/").json() if user["email"] == email]


def test_an_annotator_is_taken_from_our_page_into_the_task_and_what_they_do_is_theirs(
    delivered, browser, signed_in, sent
) -> None:
    desk = signed_in(Role.ANNOTATOR, "wambui")
    user = User.objects.get()
    place = desk.get("/label/helpline/open/").headers["Location"]
    (wish,) = [wish for wish in sent if wish[0] == "link_annotator"]
    linking.link(wish[1])
    (number,) = number_there(browser, user.email)
    assert Annotator.objects.get(user=user).label_studio_user == number
    with httpx.Client(follow_redirects=True, timeout=60) as there:
        page = there.get(place)
        assert (page.status_code, page.url.query) == (200, f"task={task_of(delivered)}".encode())
        there.base_url = place.split("/bridge/")[0]
        assert there.get("/api/current-user/whoami").json()["id"] == number, "the bridge found who was made before"
        submit(there, delivered, NEGLECT)
        assert not set(there.cookies) & set(desk.cookies), "both live on one host, where cookies ignore ports"
    sync.poll_all()
    assert (Annotation.objects.get().annotator.user, labels_of(delivered)) == (user, NEGLECT)


def test_a_person_is_made_once_in_label_studio_whichever_way_comes_first(delivered, browser, person) -> None:
    user = person(Role.ANNOTATOR, "kamau")
    with in_label_studio(user):
        linking.link(user.pk)
        linking.link(user.pk)
    assert number_there(browser, user.email) == [people.annotator_of(user).label_studio_user]


def test_somebody_who_is_deactivated_is_out_and_what_they_did_before_is_still_theirs(
    delivered, browser, person, django_capture_on_commit_callbacks: Any
) -> None:
    user = person(Role.ANNOTATOR, "njeri")
    with in_label_studio(user) as there:
        submit(there, delivered, NEGLECT)
        with django_capture_on_commit_callbacks(execute=True):
            people.deactivate(user, by=None)
        assert there.get("/api/current-user/whoami").status_code == 401
        body: dict[str, Any] = {"result": []}
        assert there.post(f"/api/tasks/{task_of(delivered)}/annotations/", json=body).status_code == 401
    sync.poll_all()
    assert Annotation.objects.get().annotator.user == user


def test_without_the_file_of_names_nobody_is_in_not_even_with_a_token(delivered, person, label_studio) -> None:
    with in_label_studio(person(Role.ANNOTATOR, "achieng")) as there:
        token = there.get("/api/current-user/token").json()["token"]
    with httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {token}"}, timeout=60) as program:
        assert program.get("/api/current-user/whoami").status_code == 200
        (label_studio.data / "caseloop-people.json").unlink()
        assert program.get("/api/current-user/whoami").status_code == 401
        access.tell()
        assert program.get("/api/current-user/whoami").status_code == 200


def test_while_label_studio_is_down_nobody_is_linked_and_nothing_breaks(person, settings, caplog) -> None:
    settings.LABEL_STUDIO_URL = "http://127.0.0.1:9"
    user = person(Role.ANNOTATOR, "amina")
    linking.link(user.pk)
    assert people.annotator_of(user).label_studio_user is None
    assert "annotator is not linked yet" in caplog.text
