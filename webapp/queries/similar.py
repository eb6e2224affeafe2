"""The labelled cases that are most like a case, by the sketches that workers make when they predict."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from ml.schema import Schema
from webapp.models import Case, CaseState, Label, Sketch
from webapp.models.cases import GONE_STATES, OPEN_STATES
from webapp.queries import wording
from webapp.queries.history import Said

SHOWN = 3
# Fewest differing bits first. Sketches of different encoders have nothing to do with each other. What is known of a
# case that people still answer blind is shown nowhere
NEAREST = """
    select sketch.text_id from webapp_sketch sketch join webapp_case c on c.id = sketch.text_id
    where sketch.encoder = %(encoder)s and sketch.bits is not null
        and c.schema_id = %(schema)s and c.id <> %(case)s and c.state <> %(erased)s
        and not (c.is_audit and c.state = any(%(open)s))
        and exists (select from webapp_label label where label.case_id = c.id)
    order by bit_count(sketch.bits # %(bits)s::bit(512)), c.id limit %(most)s
"""


@dataclass(frozen=True, slots=True)
class Similar:
    """A labelled case that is like another, and its labels."""

    case: Case
    said: tuple[Said, ...]


# The same, labelled or not
ALIKE = """
    select sketch.text_id from webapp_sketch sketch join webapp_case c on c.id = sketch.text_id
    where sketch.encoder = %(encoder)s and sketch.bits is not null
        and c.schema_id = %(schema)s and c.id <> %(case)s and c.state <> all(%(gone)s)
    order by bit_count(sketch.bits # %(bits)s::bit(512)), c.id limit %(most)s
"""


def alike(case: Case, *, most: int) -> list[int]:
    """Return the cases that are most like a case, labelled or not; none before a model has read it."""
    sketch = Sketch.objects.filter(text=case.pk).first()
    if sketch is None or sketch.bits is None:
        return []
    values = {"encoder": sketch.encoder, "schema": case.schema_id, "case": case.pk, "bits": sketch.bits, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(ALIKE, values | {"gone": [state.value for state in GONE_STATES]})
        return [pk for (pk,) in cursor.fetchall()]


def labelled(case: Case, schema: Schema) -> list[Similar]:
    """Return the labelled cases that are most like a case, the most alike first; none before a model has read it."""
    sketch = Sketch.objects.filter(text=case.pk).first()
    if sketch is None or sketch.bits is None:
        return []
    values = {"encoder": sketch.encoder, "schema": case.schema_id, "case": case.pk, "bits": sketch.bits}
    with connection.cursor() as cursor:
        states = {"erased": CaseState.ERASED.value, "open": [state.value for state in OPEN_STATES]}
        cursor.execute(NEAREST, values | states | {"most": SHOWN})
        ids = [pk for (pk,) in cursor.fetchall()]
    cases = Case.objects.in_bulk(ids)
    labels = list(Label.objects.filter(case__in=ids))
    return [Similar(cases[pk], _said(schema, [one for one in labels if one.case_id == pk])) for pk in ids]


def _said(schema: Schema, labels: list[Label]) -> tuple[Said, ...]:
    answers = {label.head: label.answer for label in labels}
    return tuple(
        Said(head.name, wording.answer(head, answers[head.key]).removeprefix(f"{head.name}: "))
        for head in schema.heads
        if head.key in answers
    )
