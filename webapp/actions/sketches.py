"""Keeping which texts each text is like."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import QuerySet

from webapp.models import Case, CaseState, CaseText, Schema, Sketch


def store(bits: Mapping[int, str | None], *, encoder: str) -> None:
    """Keep the sketches of cases by id, in the place of those before; a text that was erased meanwhile gets none.

    Without bits it is kept that the encoder cannot read the text.
    """
    there = CaseText.objects.filter(pk__in=bits).values_list("pk", flat=True)
    Sketch.objects.bulk_create(
        [Sketch(text_id=case_id, encoder=encoder, bits=bits[case_id]) for case_id in there],
        update_conflicts=True,
        unique_fields=["text"],
        update_fields=["encoder", "bits"],
    )


def wanting(schema: Schema, *, encoder: str) -> QuerySet[Case]:
    """Return the labelled cases whose sketch is not of this encoder."""
    done = Sketch.objects.filter(encoder=encoder).values("text")
    cases = Case.objects.filter(schema=schema, labels__isnull=False).exclude(state=CaseState.ERASED)
    return cases.exclude(pk__in=done).select_related("stored_text").distinct().order_by("id")
