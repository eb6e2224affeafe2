"""Searching the texts of cases, and keeping what is searched for where it belongs."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
import redis
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from tests.conftest import case_named, ids, listing
from webapp.actions import savedviews, searches, sweeping
from webapp.models import Case, CaseState, CaseText, SavedView, Search
from webapp.queries import search
from webapp.queries.filters import Filters
from webapp.roles import Role

TEXTS = {
    "a": "Caller: My stepfather has beaten me, and mama yangu hajui.",
    "b": "Caller: They beat the goat. Mama is well-known in Nyeri; call +254712345678.",
    "c": "Caller: Don't tell my mama that I beat him.",
}


@pytest.fixture
def cases(helpline, import_rows):
    import_rows(helpline, *({"id": name, "text": text} for name, text in TEXTS.items()))
    Case.objects.update(state=CaseState.REVIEW)


@pytest.fixture
def supervisor(person):
    return person(Role.SUPERVISOR)


def found(user, words: str) -> list[str]:
    return sorted(ids(listing(user, search=searches.keep(user, words).pk)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("beat", ["a", "b", "c"], id="the beginning of a word"),
        pytest.param("BEATEN", ["a"], id="in capitals"),
        pytest.param('"beat"', ["b", "c"], id="exactly so"),
        pytest.param("mama beat", ["a", "b", "c"], id="all words, in any order"),
        pytest.param('"mama yangu"', ["a"], id="words that follow each other"),
        pytest.param("“mama yangu”", ["a"], id="as a phone writes quotation marks"),
        pytest.param("mama -goat", ["a", "c"], id="without a word"),
        pytest.param("don't", ["c"], id="an apostrophe"),
        pytest.param("well-known", ["b"], id="a hyphen"),
        pytest.param("+2547123", ["b"], id="the beginning of a telephone number"),
        pytest.param("goat & | ! <-> :* (", ["b"], id="signs that mean something to the database"),
        pytest.param("goat\\' ' \\", ["b"], id="signs that end a text there"),
        pytest.param("camel", [], id="a word that nobody said"),
    ],
)
def test_a_search_finds(cases, supervisor, words, expected) -> None:
    assert found(supervisor, words) == expected


@pytest.mark.parametrize("words", ["", "  ", "!", "- '", '""'])
def test_a_search_without_a_word_is_none(words) -> None:
    assert search.query(words) is None


def test_the_id_of_a_case_finds_it(cases, supervisor, import_rows, helpline) -> None:
    import_rows(helpline, {"id": "goat", "text": "Nobody says that word here."})
    Case.objects.update(state=CaseState.REVIEW)
    assert found(supervisor, " goat ") == ["goat"]
    assert found(supervisor, "goa") == ["b"]


def test_the_words_of_a_text_are_gone_with_it(cases, supervisor) -> None:
    CaseText.objects.filter(case=case_named("a")).update(text="")
    with connection.cursor() as cursor:
        cursor.execute("select vector from webapp_casetext where case_id = %s", [Case.objects.get(external_id="a").pk])
        assert cursor.fetchone() == ("",)
    CaseText.objects.filter(case__external_id="b").delete()
    assert found(supervisor, "beat") == ["c"]


def test_reading_a_text_does_not_fetch_its_words(cases, django_assert_num_queries) -> None:
    with django_assert_num_queries(1) as asked:
        list(CaseText.objects.all())
    assert "vector" not in asked.captured_queries[0]["sql"]


def test_the_longest_text_can_be_imported(cases) -> None:
    """Each word is new, short, and of the letters that take most bytes."""
    letters = [chr(0x20000 + n) for n in range(400)]
    CaseText.objects.filter(case=case_named("a")).update(text=" ".join(a + b for a in letters for b in letters))


# --- Where the words are kept ----------------------------------------------------------------------------------------


def test_what_is_searched_for_is_in_no_address(cases, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    answer = desk.post("/queue/search/", {"words": "stepfather", "list": "flag=urgent&state=any"})
    kept = Search.objects.get()
    assert (kept.words, answer.url) == ("stepfather", f"/queue/?state=any&flag=urgent&search={kept.pk}")
    page = desk.get(f"/queue/?search={kept.pk}")
    assert ids(page.context["page"]) == ["a"]
    html = page.content.decode()
    assert 'value="stepfather"' in html
    assert html.count("stepfather") == 1, "only in the box that it was typed in"


def test_what_is_searched_for_is_in_one_table_and_nowhere_else(cases, signed_in, caplog) -> None:
    word = secrets.token_hex(8)
    desk = signed_in(Role.SUPERVISOR)
    address = desk.post("/queue/search/", {"words": word}).url
    desk.post("/queue/views/", {"name": "kept", "list": address.partition("?")[2]})
    desk.get(address)
    with connection.cursor() as cursor:
        holding = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select count(*) from "{table}" as found where found::text like %s', [f"%{word}%"])  # noqa: S608
            holding += [table] * cursor.fetchone()[0]
    assert holding == ["webapp_search"]
    assert [session for session in Session.objects.all() if word in str(session.get_decoded())] == []
    with redis.from_url(settings.REDIS_URL) as broker:
        assert [key for key in broker.scan_iter() if word.encode() in broker.dump(key)] == []
    assert word not in caplog.text


def test_searching_for_nothing_lists_everything_again(cases, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    assert desk.post("/queue/search/", {"words": " ", "list": "state=any&search=1"}).url == "/queue/?state=any"


@pytest.mark.parametrize(
    ("words", "said"),
    [("!", "There is no word to search for"), ("x" * 201, "expected at most 200 characters")],
    ids=["no word", "too long"],
)
def test_what_cannot_be_searched_for_is_said_and_the_list_stays(cases, signed_in, words, said) -> None:
    desk = signed_in(Role.SUPERVISOR)
    answer = desk.post("/queue/search/", {"words": words, "list": "flag=urgent"})
    assert answer.url == "/queue/?flag=urgent"
    assert said in desk.get(answer.url).content.decode()
    assert Search.objects.count() == 0


def test_a_search_is_kept_for_a_working_day(cases, supervisor) -> None:
    one, saved, new = (searches.keep(supervisor, words) for words in ("goat", "mama", "new"))
    savedviews.save(supervisor, "about mothers", Filters(search=saved.pk))
    Search.objects.exclude(pk=new.pk).update(asked_at=timezone.now() - timedelta(hours=13))
    sweeping.sweep()
    assert set(Search.objects.all()) == {saved, new}
    assert ids(listing(supervisor, search=one.pk)) == []


def test_a_search_that_is_not_kept_says_so_and_lists_nothing(cases, signed_in) -> None:
    page = signed_in(Role.SUPERVISOR).get("/queue/?search=9")
    assert ids(page.context["page"]) == []
    assert "What was searched for is not kept any more" in page.content.decode()


def test_the_same_words_are_the_same_search(supervisor) -> None:
    assert searches.keep(supervisor, "goat") == searches.keep(supervisor, "goat")


def test_a_search_of_another_person_is_seen_only_in_a_view_that_they_keep(cases, person, supervisor) -> None:
    words = secrets.token_hex(4)
    theirs = searches.keep(person(Role.SUPERVISOR, "juma"), words)
    assert search.words(theirs.pk, supervisor) is None
    savedviews.save(theirs.owner, "mine", Filters(search=theirs.pk))
    assert search.words(theirs.pk, supervisor) == words
    view = savedviews.save(supervisor, "sent to me", Filters(search=theirs.pk))
    SavedView.objects.exclude(pk=view.pk).delete()
    assert search.words(view.filters["search"], supervisor) == words
    assert search.words(theirs.pk, supervisor) is None
