"""Many cases, straight into the tables: copies of cases that the loop itself has predicted and flagged.

`python -m tests.load.fill --cases N --people N`, in the environment of a running Caseloop, prints sign-ins as JSON.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from typing import Any

import django
from django.db import connection, models, transaction

django.setup()

from webapp.actions import people  # noqa: E402 - Django comes first
from webapp.models import Case, CaseState, CaseText, Flag, HeadScore, Prediction  # noqa: E402
from webapp.roles import Role  # noqa: E402

SPREAD = 4.0  # By which copies of a case differ in rank, so that the order of the queue is not that of the originals


def main() -> None:
    """Fill the tables, and make supervisors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--people", type=int, required=True)
    given = parser.parse_args()
    with transaction.atomic(), connection.cursor() as cursor:
        copy_cases(cursor, given.cases)
    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze")
    sys.stdout.write(json.dumps([_person(number) for number in range(given.people)]) + "\n")


def copy_cases(cursor: Any, wanted: int) -> None:
    """Copy the cases in review, with all that models said of them, until at least so many wait there.

    Where most were decided already, reviewers who do not think would soon have nothing to do.
    """
    originals = Case.objects.filter(state=CaseState.REVIEW).exclude(current_prediction=None).count()
    if not originals:
        raise SystemExit("expected cases that are predicted and in review, found none")
    copies = max(0, -(-(wanted - originals) // originals))
    cursor.execute(
        """create temporary table copied on commit drop as
           select id as original, number, nextval(pg_get_serial_sequence('webapp_case', 'id')) as copy
           from webapp_case, generate_series(1, %s) as number
           where current_prediction_id is not null and state = %s""",
        [copies, CaseState.REVIEW],
    )
    changes = {
        "id": "copy",
        "external_id": "webapp_case.external_id || '-' || number",
        "rank": f"webapp_case.rank + {SPREAD} * (random() - 0.5)",
        "current_prediction_id": "null",
        "held_by_id": "null",
        "held_until": "null",
        "is_audit": "false",
    }
    _copy(cursor, Case, "copied on original = webapp_case.id", changes)
    for model in (CaseText, Flag):
        key = {} if model._meta.pk.column == "case_id" else {"id": _next(model)}
        _copy(cursor, model, f"copied on original = {model._meta.db_table}.case_id", key | {"case_id": "copy"})
    number = _next(Prediction)
    cursor.execute(
        "create temporary table foretold on commit drop as "  # noqa: S608 - names of our own tables
        f"select id as said, copy, {number} as saying from webapp_prediction join copied on original = case_id"
    )
    said = "foretold on said = webapp_prediction.id"
    _copy(cursor, Prediction, said, {"id": "saying", "case_id": "copy"})
    said = "foretold on said = webapp_headscore.prediction_id"
    _copy(cursor, HeadScore, said, {"id": _next(HeadScore), "prediction_id": "saying"})
    cursor.execute(
        """update webapp_case set current_prediction_id = saying from foretold
           join webapp_prediction on webapp_prediction.id = said
           join webapp_case original on original.current_prediction_id = said where webapp_case.id = copy"""
    )


def _copy(cursor: Any, model: type[models.Model], joined: str, changes: dict[str, str]) -> None:
    """Copy the rows of a table that join the copies, with some columns changed."""
    table = model._meta.db_table
    cursor.execute(
        "select column_name from information_schema.columns where table_name = %s and is_generated = 'NEVER'", [table]
    )
    columns = [name for (name,) in cursor.fetchall()]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changes.get(column, f'{table}."{column}"') for column in columns)
    cursor.execute(f"insert into {table} ({names}) select {values} from {table} join {joined}")  # noqa: S608


def _next(model: type[models.Model]) -> str:
    return f"nextval(pg_get_serial_sequence('{model._meta.db_table}', 'id'))"


def _person(number: int) -> dict[str, str]:
    name, password = f"reviewer-{number}", secrets.token_urlsafe(12)
    people.create(name, email=f"{name}@load.caseloop.local", password=password, role=Role.SUPERVISOR)
    return {"username": name, "password": password}


if __name__ == "__main__":
    main()
