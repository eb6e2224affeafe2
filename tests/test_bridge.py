"""The links by which Caseloop signs people in to a real Label Studio."""

import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from django.core import signing

from tests.engines import LabelStudio
from webapp.engines import label_studio as label_studio_engine

NOT_VALID = "This link is not valid any more. Open it again from Caseloop."

pytestmark = pytest.mark.label_studio


def test_a_link_from_caseloop_signs_a_person_in_to_the_page_that_it_names(label_studio: LabelStudio) -> None:
    answer, cookies = follow(label_studio, sign(label_studio, next="/api/current-user/whoami"))
    assert (answer.url.path, answer.json()["email"]) == ("/api/current-user/whoami", "ann@example.org")
    assert "label_studio_session" in cookies
    assert not cookies & {"sessionid", "csrftoken"}  # Names that another server on this host may use


def test_a_link_works_once(label_studio: LabelStudio) -> None:
    token = sign(label_studio)
    assert follow(label_studio, token)[0].status_code == 200
    assert refusal(label_studio, token) == (403, "This link was used before. Open it again from Caseloop.")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda server: sign(server, key="not the shared secret"), id="signed with another key"),
        pytest.param(lambda server: sign(server, salt="another purpose"), id="signed for another purpose"),
        pytest.param(lambda server: "A" + sign(server), id="changed"),
        pytest.param(lambda server: "", id="empty"),
    ],
)
def test_a_link_that_caseloop_did_not_make_is_refused(
    label_studio: LabelStudio, token: Callable[[LabelStudio], str]
) -> None:
    assert refusal(label_studio, token(label_studio)) == (403, NOT_VALID)


def test_a_link_older_than_a_minute_is_refused(label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: now - 61)
        token = sign(label_studio)
    assert refusal(label_studio, token) == (403, NOT_VALID)


def test_a_link_never_leads_to_another_site(label_studio: LabelStudio) -> None:
    answer, _ = follow(label_studio, sign(label_studio, next="https://elsewhere.example/"))
    assert str(answer.url).startswith(label_studio.url)


def test_a_person_whose_membership_was_ended_is_refused(label_studio: LabelStudio) -> None:
    follow(label_studio, sign(label_studio, email="leaver@example.org"))
    with admin(label_studio) as api:
        people = {user["email"]: user["id"] for user in api.get("/api/users/").json()}
        assert api.delete(f"/api/organizations/1/memberships/{people['leaver@example.org']}/").status_code == 204
    token = sign(label_studio, email="leaver@example.org")
    assert refusal(label_studio, token) == (403, "This account is not active. Ask an admin of Caseloop.")


def test_the_api_key_is_the_one_of_the_admin(label_studio: LabelStudio) -> None:
    with admin(label_studio) as api:
        assert api.get("/api/current-user/whoami").json()["email"] == label_studio_engine.ADMIN_EMAIL


# --- What the tests above say in words -------------------------------------------------------------------------------


def sign(server: LabelStudio, *, key: str = "", salt: str = "caseloop-bridge", **changes: str) -> str:
    names = {"email": "ann@example.org", "first_name": "Ann", "last_name": "Otter"}
    person = {**names, "next": "/", "jti": uuid4().hex, **changes}
    return signing.dumps(person, key=key or server.bridge_secret, salt=salt)


def follow(server: LabelStudio, token: str) -> tuple[httpx.Response, set[str]]:
    """Open the link as a new browser would; return the page where it leads, and the names of the cookies."""
    with httpx.Client(base_url=server.url, follow_redirects=True) as browser:
        return browser.get("/bridge/", params={"bridge": token}), set(browser.cookies)


def refusal(server: LabelStudio, token: str) -> tuple[int, str]:
    answer, cookies = follow(server, token)
    assert "label_studio_session" not in cookies
    return answer.status_code, answer.text


def admin(server: LabelStudio) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.api_key}"})
