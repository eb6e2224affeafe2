"""Commands: what they print, and how they refuse."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from lxml import html

from tests.conftest import case_named, trained_version
from webapp.actions import promotions, runs
from webapp.models import Case, Import, Run, Schema
from webapp.queries import health
from webapp.roles import Role


def run(name: str, *args: object, **options: Any) -> tuple[list[str], list[str]]:
    """Call a command; return the lines that it printed and those that it complained with."""
    out, err = io.StringIO(), io.StringIO()
    call_command(name, *args, stdout=out, stderr=err, **options)
    return out.getvalue().splitlines(), err.getvalue().splitlines()


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "cases.csv"
    path.write_text("ref,summary,urgency\n1,She is hungry.,Critical\n2,,Critical\n3,Hello?,Soon\n")
    return path


MAPPING = ["--map", "ref=id", "--map", "summary=text", "--map", "urgency=priority"]


def test_an_import_tells_what_it_read_and_what_it_could_not(helpline, csv_file, sent) -> None:
    out, err = run("import_cases", csv_file, *MAPPING)
    assert out == [
        "column ref: id",
        "column summary: text",
        "column urgency: priority",
        "3 rows: 2 new, 0 with new labels, 0 unchanged, 1 left out; 2 with faults",
    ]
    assert err == [
        "Row 3: text is empty; expected the text of the case",
        "Row 4: priority has the unknown label 'Soon'; expected 1, 2, 3",
    ]
    assert case_named("1").labels.get().answer == "1"
    assert sent == [("predict_cases", helpline.pk)]


def test_an_import_a_second_time_changes_nothing_and_sends_nothing(helpline, csv_file, sent) -> None:
    run("import_cases", csv_file, *MAPPING)
    sent.clear()
    out, _ = run("import_cases", csv_file, *MAPPING)
    assert out[-1] == "3 rows: 0 new, 0 with new labels, 2 unchanged, 1 left out; 2 with faults"
    assert sent == []


def test_an_import_into_an_empty_database_brings_the_shipped_schemas(db, csv_file, sent) -> None:
    run("import_cases", csv_file, *MAPPING)
    assert sorted(Schema.objects.values_list("name", flat=True)) == ["customer", "helpline"]


def test_a_preview_writes_no_case(helpline, csv_file, sent) -> None:
    out, _ = run("import_cases", csv_file, *MAPPING, "--preview")
    assert out[-1] == "3 rows: 0 new, 0 with new labels, 0 unchanged, 1 left out; 2 with faults"
    assert (list(Case.objects.all()), list(Import.objects.all()), sent) == ([], [], [])


@pytest.mark.parametrize("option", [[], ["--preview"]], ids=["import", "preview"])
def test_a_mapped_column_that_the_file_does_not_have_is_named(helpline, csv_file, sent, option) -> None:
    _, err = run("import_cases", csv_file, *MAPPING, "--map", "urgensy=source", *option)
    assert err[0] == (
        "Warning: column 'urgensy' was mapped to source, but the file has no such column; "
        "the nearest that it has is 'urgency'"
    )


@pytest.mark.parametrize("option", [[], ["--preview"]], ids=["import", "preview"])
def test_a_file_with_none_of_the_mapped_columns_is_not_imported(helpline, tmp_path, sent, option) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"text": "a"}\n')
    with pytest.raises(CommandError, match=r"^no column that was mapped is in the file: column 'ref' was mapped to id"):
        run("import_cases", path, "--map", "ref=id", *option)
    assert (list(Case.objects.all()), sent) == ([], [])


@pytest.mark.parametrize("file", ["b\udcff.jsonl", "b.jsonl"], ids=["name that is not UTF-8", "usual name"])
def test_a_source_that_no_table_holds_is_refused_and_any_name_of_a_file_is_taken(
    helpline, tmp_path, sent, file
) -> None:
    (tmp_path / file).write_text('{"text": "a"}\n')
    with pytest.raises(CommandError, match=r"^source has 101 characters; expected at most 100$"):
        run("import_cases", tmp_path / file, "--source", "x" * 101)
    run("import_cases", tmp_path / file)
    assert Import.objects.get().name == file.replace("\udcff", "\ufffd")


def test_a_person_is_added_once_and_by_one_address(db) -> None:
    ((line,), _) = run("add_person", "amina", "--role", "annotator", "--email", "amina@example.org")
    assert line.split()[0] == "amina"
    with pytest.raises(
        CommandError, match=r"^the address amina@example.org belongs to somebody already; choose another$"
    ):
        run("add_person", "otieno", "--role", "admin", "--email", "Amina@example.org")


def test_rows_that_name_no_source_get_the_one_given(helpline, csv_file, sent) -> None:
    run("import_cases", csv_file, *MAPPING, "--source", "march")
    assert case_named("1").source == "march"


def test_of_many_faults_the_first_are_printed(helpline, tmp_path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text("{}\n" * 25)
    _, err = run("import_cases", path)
    assert err[19:] == ["Row 20: text is missing; expected the text of the case", "... and 5 more"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--schema", "weather"], "schema is 'weather'; expected one of"),
        (["--map", "ref"], "the mapping 'ref' is not of the form COLUMN=FIELD"),
        (["--map", "ref=mood"], "column 'ref' is mapped to 'mood'; expected one of id, text"),
    ],
    ids=["schema", "mapping", "field"],
)
def test_an_import_that_cannot_be_done_says_why(helpline, csv_file, args, message) -> None:
    with pytest.raises(CommandError) as refused:
        run("import_cases", csv_file, *args)
    assert str(refused.value).startswith(message)
    assert list(Case.objects.all()) == []


def test_a_file_that_is_not_there_is_named(helpline, tmp_path) -> None:
    with pytest.raises(CommandError) as refused:
        run("import_cases", tmp_path / "none.csv")
    assert str(refused.value) == f"{tmp_path / 'none.csv'} is not a file"
    assert list(Import.objects.all()) == []


# --- loop_status -----------------------------------------------------------------------------------------------------


def test_the_status_is_one_json_object(helpline, import_rows) -> None:
    decided = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1"}
    import_rows(helpline, {"id": "1", "text": "a", "labels": decided}, {"id": "2", "text": "b"})
    promotions.promote(trained_version(helpline, 3), by=None, reason="the first")
    (line,), _ = run("loop_status", "--json")
    status = json.loads(line)
    states = ("new", "predicted", "accepted", "labelling", "review", "decided", "withdrawn", "erased")
    nothing = dict.fromkeys(states, 0)
    assert status == {
        "schemas": {
            "customer": {
                "title": Schema.objects.get(name="customer").title,
                "cases": nothing,
                "waiting_for_prediction": 0,
                "champion": None,
                "open_run": None,
            },
            "helpline": {
                "title": "Child helpline calls",
                "cases": nothing | {"new": 1, "decided": 1},
                "waiting_for_prediction": 2,
                "champion": 3,
                "open_run": None,
            },
        },
        "outbox": {"waiting": 0, "failing": 0, "oldest_seconds": None},
        "webhooks": {"waiting": 0, "failing": 0, "given_up": 0, "oldest_seconds": None},
        "label_studio": [],
    }


def test_the_status_shows_the_open_run(helpline) -> None:
    run_row = Run.objects.create(schema=helpline, schema_version=helpline.versions.get())
    runs.beat(runs.claim(run_row.pk), {"phase": "train", "done": 1, "total": 2})
    (line,), _ = run("loop_status", "--json")
    assert json.loads(line)["schemas"]["helpline"]["open_run"] == {
        "id": run_row.pk,
        "state": "running",
        "progress": {"phase": "train", "done": 1, "total": 2},
    }


def test_the_status_is_readable_without_json(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    out, _ = run("loop_status")
    at = out.index("Child helpline calls: version in use none")
    assert out[at + 1] == "  new                     1"
    assert "  with annotators         0" in out
    assert out[-3:-1] == ["Outbox: 0 waiting", "Webhooks out: 0 waiting"]
    assert re.fullmatch(r"At \d{4}-\d\d-\d\d \d\d:\d\d EAT", out[-1])


def test_the_status_in_the_shell_and_on_the_page_use_the_same_words(helpline, signed_in, monkeypatch) -> None:
    found = {"waiting": 3, "failing": 2, "given_up": 1, "oldest_seconds": 5.0}
    monkeypatch.setattr(health, "outbox", lambda: found)
    monkeypatch.setattr(health, "webhooks", lambda: found)
    page = " ".join(html.fromstring(signed_in(Role.ADMIN).get("/status/").content).text_content().split())
    out, _ = run("loop_status")
    said = "3 waiting, ◆ 2 were tried and wait to be tried again, ▲ 1 were given up"
    assert out[-3:-1] == [f"Outbox: {said}", f"Webhooks out: {said}"]
    assert page.count(said) == 2


# --- retrain ---------------------------------------------------------------------------------------------------------


def test_a_training_is_queued(helpline, import_rows) -> None:
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))
    out, _ = run("retrain", "--seed", "5")
    row = Run.objects.get()
    assert (out, row.seed, row.profile, row.state) == ([f"run {row.pk} is queued"], 5, "fast", "queued")
    with pytest.raises(CommandError, match=r"^A training of Child helpline calls is under way"):
        run("retrain")


def test_a_training_of_the_full_profile_is_queued_and_another_profile_refused(helpline, import_rows) -> None:
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))
    run("retrain", "--profile", "full")
    assert Run.objects.get().profile == "full"
    with pytest.raises(CommandError, match="invalid choice: 'slow'"):
        run("retrain", "--profile", "slow")


def test_a_training_without_labels_says_how_many_it_needs(helpline) -> None:
    with pytest.raises(CommandError, match="has 0 labelled cases; training needs 20"):
        run("retrain")


def test_a_training_of_an_unknown_schema_names_the_known_ones(db) -> None:
    with pytest.raises(CommandError) as refused:
        run("retrain", "--schema", "weather")
    assert str(refused.value) == "schema is 'weather'; expected one of none yet; import cases first"


def test_a_training_that_was_waited_for_and_failed_says_why(helpline, import_rows, monkeypatch) -> None:
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))

    def fails_meanwhile(seconds: float) -> None:
        runs.fail(Run.objects.get(), reason="out of memory")

    monkeypatch.setattr("webapp.management.following.time.sleep", fails_meanwhile)
    with pytest.raises(CommandError) as refused:
        run("retrain", "--wait")
    assert str(refused.value) == f"run {Run.objects.get().pk} failed: out of memory"


def test_an_import_beside_a_changed_schema_is_refused_in_words(helpline, csv_file) -> None:
    helpline.versions.update(digest="0" * 64)
    with pytest.raises(CommandError, match="of helpline is known with another document"):
        run("import_cases", csv_file, *MAPPING)
