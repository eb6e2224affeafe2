"""The links by which Caseloop signs people in to a real Label Studio, and whom that lets in."""

import json
import re
import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from django.core import signing

from tests.engines import LabelStudio
from webapp.engines import label_studio as label_studio_engine

LIST = "caseloop-people.json"
NOT_VALID = "This link is not valid any more. Open it again from Caseloop."

NOT_ACTIVE = "This account is not active. Ask an admin of Caseloop."
WHOAMI = "/api/current-user/whoami"

pytestmark = pytest.mark.label_studio


@pytest.fixture(autouse=True)
def _let_in(label_studio: LabelStudio) -> None:
    let_in(label_studio, "ann@example.org", "leaver@example.org")


def test_a_link_from_caseloop_signs_a_person_in_to_the_page_that_it_names(label_studio: LabelStudio) -> None:
    answer, cookies = follow(label_studio, sign(label_studio, next=WHOAMI))
    assert (answer.url.path, answer.json()["email"]) == (WHOAMI, "ann@example.org")
    assert "label_studio_session" in cookies
    assert not cookies & {"sessionid", "csrftoken"}  # Names that another server on this host may use


def test_who_came_from_caseloop_finds_the_way_back_on_every_page_and_no_settings(label_studio: LabelStudio) -> None:
    back = "https://desk.example.org/label/helpline/open/"
    with browser(label_studio) as ann, admin(label_studio) as api:
        page = ann.get("/bridge/", params={"bridge": sign(label_studio, next="/projects/", back=back)})
        link = re.search(r'<script src="/bridge/back.js" data-next="(.*?)" data-home="(.*?)">', page.text)
        assert link is not None
        assert link.groups() == (back, "https://desk.example.org/label/")
        assert page.text.rstrip().endswith("</html>"), "the page is whole"
        assert 'href="/bridge/back.css"' in page.text
        for name, kind in (("back.js", "text/javascript"), ("back.css", "text/css")):
            file = ann.get(f"/bridge/{name}")
            assert (file.status_code, file.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        for path in ("/projects/1/settings", "/projects/1/settings/labeling"):
            answer = ann.get(path, follow_redirects=False)
            assert (answer.status_code, answer.headers["Location"]) == (302, link[2])
            assert api.get(path, follow_redirects=False).headers.get("Location") != link[2]
        assert "/bridge/" not in ann.get(WHOAMI).text
        assert "/bridge/" not in api.get("/projects/").text


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
    assert refusal(label_studio, token) == (403, NOT_ACTIVE)


def test_somebody_whom_caseloop_does_not_name_is_refused(label_studio: LabelStudio) -> None:
    assert refusal(label_studio, sign(label_studio, email="stranger@example.org")) == (403, NOT_ACTIVE)


def test_whoever_is_not_named_any_more_is_out_at_once_and_in_again_when_they_are(label_studio: LabelStudio) -> None:
    with browser(label_studio) as ann, browser(label_studio) as by_token:
        enter(ann, label_studio)
        key = ann.get("/api/current-user/token").json()["token"]
        by_token.headers["Authorization"] = f"Token {key}"
        assert (ann.get("/projects/").status_code, by_token.get(WHOAMI).status_code) == (200, 200)
        let_in(label_studio, "leaver@example.org")
        assert (ann.get(WHOAMI).status_code, by_token.get(WHOAMI).status_code) == (401, 401)
        assert ann.get("/projects/").url.path == "/user/login/"
        assert refusal(label_studio, sign(label_studio)) == (403, NOT_ACTIVE)
        let_in(label_studio, "ann@example.org")
        assert by_token.get(WHOAMI).status_code == 200
        enter(ann, label_studio)


def test_somebody_who_signed_up_by_an_invitation_is_out(label_studio: LabelStudio) -> None:
    with admin(label_studio) as api, browser(label_studio) as stranger:
        invitation = api.get("/api/invite").json()["invite_url"]
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', stranger.get(invitation).text)
        assert token is not None
        form = {
            "csrfmiddlewaretoken": token[1],
            "email": "stranger@example.org",
            "password": "a-long-password",
            "allow_newsletters": "false",
        }
        page = stranger.post(invitation, data=form)
        # Told so, or asked to sign in where another request has noticed before
        assert page.text == NOT_ACTIVE or page.url.path == "/user/login/" or 'name="password"' in page.text
        assert stranger.get(WHOAMI).status_code == 401
        assert stranger.get("/projects/").url.path == "/user/login/"
        sign_in = {"email": "stranger@example.org", "password": "a-long-password"}
        assert stranger.post("/user/login/", data=sign_in).url.path == "/user/login/"


def test_without_a_list_nobody_but_the_admin_is_in(label_studio: LabelStudio) -> None:
    with browser(label_studio) as ann, admin(label_studio) as api:
        enter(ann, label_studio)
        (label_studio.data / LIST).unlink()
        assert (ann.get(WHOAMI).status_code, api.get(WHOAMI).status_code) == (401, 200)
        assert ann.get("/projects/").url.path == "/user/login/"


def test_the_api_key_is_the_one_of_the_admin(label_studio: LabelStudio) -> None:
    with admin(label_studio) as api:
        assert api.get(WHOAMI).json()["email"] == label_studio_engine.ADMIN_EMAIL


# --- What the tests above say in words -------------------------------------------------------------------------------


def sign(server: LabelStudio, *, key: str = "", salt: str = "caseloop-bridge", **changes: str) -> str:
    names = {"email": "ann@example.org", "first_name": "Ann", "last_name": "Otter"}
    person = {**names, "next": "/", "jti": uuid4().hex, **changes}
    return signing.dumps(person, key=key or server.bridge_secret, salt=salt)


def browser(server: LabelStudio) -> httpx.Client:
    return httpx.Client(base_url=server.url, follow_redirects=True)


def enter(ann: httpx.Client, server: LabelStudio) -> None:
    found = ann.get("/bridge/", params={"bridge": sign(server, next=WHOAMI)})
    assert found.json()["email"] == "ann@example.org"


def let_in(server: LabelStudio, *emails: str) -> None:
    draft = server.data / "draft"
    draft.write_text(json.dumps(emails))
    draft.replace(server.data / LIST)


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
