"""The pages in Swahili."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client

from webapp.roles import Role

WEBAPP = Path(__file__).resolve().parent.parent / "webapp"
FOLDER = WEBAPP / "locale" / "sw" / "LC_MESSAGES"
MARKED = re.compile(r"""\{% translate (?:"([^"]+)"|'([^']+)') %\}""")
BLOCK = re.compile(r"\{% blocktranslate.*? %\}(.*?)(?:\{% plural %\}.*?)?\{% endblocktranslate %\}", re.DOTALL)
MARKS = ("_", "gettext_lazy")  # Functions
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
    assert sorted(messages.keys() - wanted - {""} - plurals()) == [], "said no more"
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
