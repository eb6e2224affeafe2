"""The cases of `make load` are as the loop would have left them."""

from __future__ import annotations

from django.db import connection, transaction

from tests.conftest import case_named, helpline_prediction, predict, trained_version
from tests.load import fill
from webapp.models import Case, Flag, HeadScore


def test_copies_have_texts_predictions_scores_and_flags_of_their_own(helpline, import_rows) -> None:
    import_rows(helpline, *({"id": str(n), "text": f"Caller: I am hungry {n}."} for n in range(3)))
    version = trained_version(helpline)
    for n, sure in enumerate((0.99, 0.6)):
        predict(version, str(n), helpline_prediction(sure=sure, urgent=0.9 * n))
    flags, scores = Flag.objects.count(), HeadScore.objects.count()
    assert flags
    with transaction.atomic(), connection.cursor() as cursor:
        fill.copy_cases(cursor, 20)
    assert (Case.objects.count(), Case.objects.filter(state="review").count()) == (3 + 19, 20)
    assert (Flag.objects.count(), HeadScore.objects.count()) == (20 * flags, 10.5 * scores)
    copy = case_named("1-5")
    assert copy.state == case_named("1").state
    assert copy.stored_text.text == "Caller: I am hungry 1."
    assert copy.current_prediction.case == copy
    assert copy.current_prediction.heads == case_named("1").current_prediction.heads
    assert len({case.rank for case in Case.objects.filter(state="review")}) == 20
