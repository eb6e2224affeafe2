"""What the documents say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def test_the_configuration_table_names_every_variable_that_settings_read() -> None:
    table = set(re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION, re.MULTILINE))
    settings = (ROOT / "webapp" / "settings.py").read_text()
    read = set(re.findall(r'(?:env\.\w+|given|required|environ\.get)\("([A-Z_]+)"', settings))
    assert read <= table
    assert table - read == {"LABEL_STUDIO_ADMIN_PASSWORD", "DEMO"}, "only the embedded Label Studio and `make run` do"


def test_the_example_environment_names_the_same_variables() -> None:
    table = set(re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION, re.MULTILINE))
    example = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert example == table


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_test_that_a_document_names_exists() -> None:
    tests = {name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    for document in ROOT.glob("docs/*.md"):
        assert set(re.findall(r"`(test_\w+)`", document.read_text())) <= tests, document.name


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        assert set(re.findall(r"`?make ([a-z]+)", document)) - {"it", "them"} <= targets


def test_each_requirement_is_pinned_and_says_what_it_is_for() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-mlflow.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.fullmatch(r"[\w.\[\]-]+==[\w.]+ +# \S.+", line), line
