"""The pages in Swahili."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from lxml import html

from tests.conftest import helpline_prediction, predict, trained_version
from tests.test_pages import OPEN, PAGES, POSTED, REACH, address, furnish
from webapp.models import Case, Import, Promotion, Schema
from webapp.roles import Role

WEBAPP = Path(__file__).resolve().parent.parent / "webapp"
FOLDER = WEBAPP / "locale" / "sw" / "LC_MESSAGES"
MARKED = re.compile(r"""\{% translate (?:"([^"]+)"|'([^']+)') %\}""")
BLOCK = re.compile(r"\{% blocktranslate.*? %\}(.*?)(?:\{% plural %\}.*?)?\{% endblocktranslate %\}", re.DOTALL)
MARKS = ("_", "gettext_lazy")  # Functions
DJANGO = (  # What Django says to people, and does not say in Swahili
    "Your password can\u2019t be too similar to your other personal information.",
    "Your password can\u2019t be a commonly used password.",
    "Your password must contain at least %(min_length)d character.",
)
PLACE = re.compile(r"%\((\w+)\)[sd]")


def read(text: str) -> Iterator[tuple[str, str]]:
    """Yield the messages of a .po file and what stands for each; of one with a plural, both forms."""
    for entry in text.split("\n\n"):
        found: dict[str, str] = {}
        key = ""
        for line in entry.splitlines():
            if line.startswith("#"):
                continue
            if not line.startswith('"'):
                key, _, line = line.partition(" ")
            found[key] = found.get(key, "") + ast.literal_eval(line)
        plural = found.get("msgid_plural")
        yield found["msgid"], found.get("msgstr", found.get("msgstr[0]", ""))
        if plural is not None:
            yield plural, found["msgstr[1]"]


def said() -> Iterator[str]:
    """Yield every message that templates and modules mark."""
    for path in WEBAPP.glob("templates/*.html"):
        page = path.read_text()
        yield from ("".join(found).replace("%", "%%") for found in MARKED.findall(page))
        for block in BLOCK.findall(page):
            yield re.sub(r"\{\{ (\w+) \}\}", r"%(\1)s", block.replace("%", "%%"))
    for path in WEBAPP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
                yield ast.literal_eval(node.args[0])


def plurals() -> set[str]:
    """Return the second forms of the messages that have two."""
    return set(re.findall(r'^msgid_plural "(.*)"$', (FOLDER / "django.po").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    return dict(read((FOLDER / "django.po").read_text()))


def test_every_message_has_a_translation_with_the_same_places(messages) -> None:
    wanted = set(said())
    assert len(wanted) > 150
    assert sorted(message for message in wanted if not messages.get(message)) == []
    assert sorted(messages.keys() - wanted - {""} - plurals() - set(DJANGO)) == [], "said no more"
    torn = [m for m, words in messages.items() if set(PLACE.findall(m)) != set(PLACE.findall(words))]
    assert torn == []


def test_what_is_served_is_what_translators_wrote(messages) -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        served = gettext.GNUTranslations(file)
    single = messages.keys() - plurals() - {""}
    assert {message: served.gettext(message) for message in single} == {name: messages[name] for name in single}


def test_a_page_is_in_the_language_that_somebody_chose(helpline, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    page = desk.get("/queue/").content.decode()
    assert ('<html lang="en">' in page, "Nothing waits for review." in page) == (True, True)
    answer = desk.post("/language/", {"language": "sw", "next": "/queue/"})
    assert (answer.headers["Location"], answer.cookies["caseloop_language"].value) == ("/queue/", "sw")
    page = desk.get("/queue/").content.decode()
    assert '<html lang="sw">' in page
    assert "Hakuna inayosubiri kukaguliwa." in page
    assert "Foleni" in page
    assert ">English</button>" in page, "each language by its own name"


def test_before_a_choice_the_browser_says_which_language() -> None:
    page = Client().get("/sign-in/", headers={"Accept-Language": "sw-KE,sw;q=0.9"}).content.decode()
    assert "<h1>Ingia</h1>" in page
    assert "<h1>Sign in</h1>" in Client().get("/sign-in/", headers={"Accept-Language": "fr"}).content.decode()


ENGLISH = re.compile(
    r"\b(the|of|and|is|are|was|were|with|for|not|from|you|your|that|this|who|which|by|has|have)\b", re.I
)
NOT_YET = {"version", "two-factor"}  # Pages that are in English only
SPOKEN = ("title", "placeholder", "aria-label", "alt", "data-words", "data-select", "data-marked", "data-told")


def english(page: str, known: set[str]) -> list[str]:
    """Return what of a page reads like English, but for strings that are shown as they are."""
    tree = html.fromstring(page)
    for away in tree.xpath("//script | //style | //code | //*[@lang][not(self::html)]"):
        away.drop_tree()
    found = [node for node in tree.itertext() if node.strip()]
    found += [element.get(name) for element in tree.iter("*") for name in SPOKEN if element.get(name)]
    texts = [" ".join(text.split()) for text in found]
    for words in sorted(known, key=len, reverse=True):
        texts = [text.replace(words, "") for text in texts]
    return [text for text in texts if ENGLISH.search(text)]


@pytest.mark.parametrize("role", [Role.ANNOTATOR, Role.SUPERVISOR])
def test_no_page_of_annotators_and_supervisors_says_anything_in_english(role, helpline, import_rows, signed_in) -> None:
    texts = {"1": "Caller: A caller asks for help.", "2": "Caller: Another asks."}
    import_rows(helpline, *({"id": name, "text": text} for name, text in texts.items()))
    version = trained_version(helpline, 7)
    predict(version, "1", helpline_prediction(sure=0.5, urgent=0.4))
    predict(version, "2", helpline_prediction(sure=0.5))
    numbers = furnish(helpline, Case.objects.get(external_id="1"))
    client = signed_in(role)
    client.cookies["caseloop_language"] = "sw"
    known = {*texts.values(), *(text.removeprefix("Caller: ") for text in texts.values())}
    for schema in Schema.objects.all():
        known |= {schema.title, *schema.policies.values_list("reason", flat=True)}
        for head in schema.versions.latest("number").parsed.heads:
            known |= {head.name, head.name.lower(), *(label.name for label in head.labels)}
            known |= {label.definition for label in head.labels}
            known |= {one for group in head.groups for one in (group.name, *(mark.name for mark in group.criteria))}
            known |= {mark.definition for group in head.groups for mark in group.criteria}
    known |= set(Promotion.objects.values_list("reason", flat=True))
    left = []
    for pattern in PAGES:
        roles = REACH[str(pattern.name)]
        if str(pattern.name) in POSTED | NOT_YET or roles is OPEN or roles is None or role not in roles:
            continue
        path = address(pattern, numbers.get(str(pattern.name), Import.objects.latest("pk").pk))
        answer = client.get(path)
        if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
            left += [f"{path}: {words}" for words in english(answer.content.decode(), known - {""})]
    assert left == []
