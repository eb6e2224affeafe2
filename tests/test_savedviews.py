"""Views of the queue that people keep."""

from __future__ import annotations

import pytest

from tests.conftest import ids
from webapp.actions import savedviews
from webapp.errors import NotSavable
from webapp.models import Case, CaseState, SavedView
from webapp.queries.filters import Filters
from webapp.roles import Role


@pytest.fixture
def cases(helpline, import_rows):
    import_rows(helpline, *({"id": name, "text": name, "source": f"line {name}"} for name in "ab"))
    Case.objects.update(state=CaseState.REVIEW)


def test_a_view_is_kept_with_its_count_and_can_be_sent_to_another(cases, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR, "halima")
    answer = desk.post("/queue/views/", {"name": "From a", "list": "source=line+a&held=&nonsense=1"})
    assert answer.url == "/queue/?source=line+a"
    page = desk.get("/queue/").content.decode()
    assert '<a class="chip" href="?source=line+a">From a<span class="count">1</span></a>' in page
    other = signed_in(Role.SUPERVISOR, "juma").get(answer.url)
    assert (ids(other.context["page"]), "From a" in other.content.decode()) == (["a"], False)


def test_a_name_stands_for_the_newest_view_of_that_name(cases, person) -> None:
    halima = person(Role.SUPERVISOR)
    savedviews.save(halima, "mine", Filters(source="line a"))
    savedviews.save(halima, "mine", Filters(source="line b", older=8))
    assert halima.saved_views.get().filters == {"source": "line b", "older": 8}


def test_a_person_removes_their_own_views_and_no_others(cases, signed_in, person) -> None:
    desk = signed_in(Role.SUPERVISOR, "halima")
    desk.post("/queue/views/", {"name": "mine", "list": "held=me"})
    theirs = savedviews.save(person(Role.SUPERVISOR, "juma"), "theirs", Filters(held="me"))
    assert desk.post(f"/queue/views/{theirs.pk}/remove/").status_code == 404
    assert "Remove the view “mine”" in desk.get("/queue/?held=me").content.decode()
    desk.post(f"/queue/views/{SavedView.objects.get(name='mine').pk}/remove/")
    assert list(SavedView.objects.values_list("name", flat=True)) == ["theirs"]


def test_a_dozen_views_are_kept_at_most(cases, person) -> None:
    halima = person(Role.SUPERVISOR)
    for number in range(12):
        savedviews.save(halima, f"view {number}", Filters(older=8))
    with pytest.raises(NotSavable, match="you keep 12 views; expected at most 12: remove one"):
        savedviews.save(halima, "one more", Filters())
    savedviews.save(halima, "view 3", Filters(older=1))
    assert halima.saved_views.get(name="view 3").filters == {"older": 1}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        pytest.param({"name": " "}, "Give the view a name of at most 60 characters.", id="no name"),
        pytest.param({"name": "x" * 61}, "Give the view a name of at most 60 characters.", id="too long a name"),
        pytest.param({"name": "x", "list": "search=9"}, "what was searched for is not kept any more", id="no search"),
    ],
)
def test_what_cannot_be_kept_is_said(cases, signed_in, form, said) -> None:
    desk = signed_in(Role.SUPERVISOR)
    assert said in desk.post("/queue/views/", form, follow=True).content.decode()
    assert SavedView.objects.count() == 0
