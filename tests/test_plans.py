"""How the database finds the cases of a page: by walking an index, however many there are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tests.conftest import trained_version
from webapp.actions import searches
from webapp.models import Case, CaseState, CaseText, Flag, HeadScore, Prediction, Schema
from webapp.queries import filters, queue
from webapp.queries.filters import Filters
from webapp.roles import Role

CASES = 5000


@pytest.fixture
def many(helpline: Schema, person) -> User:
    """Thousands of cases; one in 200 is a customer's, is flagged for an audit, and says "rare"."""
    ranks = np.random.default_rng(0).normal(size=CASES)
    version, customer = trained_version(helpline), Schema.objects.get(name="customer")
    cases = Case.objects.bulk_create(
        Case(
            schema=customer if n % 200 == 1 else helpline,
            source="line",
            external_id=str(n),
            state=CaseState.REVIEW if n % 2 else CaseState.DECIDED,
            side="train",
            text_length=1,
            received_at=timezone.now(),
            rank=float(ranks[n]),
        )
        for n in range(CASES)
    )
    rare = [number % 200 == 1 for number in range(CASES)]
    CaseText.objects.bulk_create(
        CaseText(case=case, text=f"common {case.pk % 900} {'and so on ' * 100} {'rare' if is_rare else ''}")
        for case, is_rare in zip(cases, rare, strict=True)
    )
    predictions = Prediction.objects.bulk_create(Prediction(case=case, version=version, heads={}) for case in cases)
    for case, prediction in zip(cases, predictions, strict=True):
        case.current_prediction = prediction
    Case.objects.bulk_update(cases, ["current_prediction"], batch_size=1000)
    HeadScore.objects.bulk_create(
        HeadScore(prediction=prediction, head="main_category", answer_key="GBV" if is_rare else "VANE", confidence=0.5)
        for prediction, is_rare in zip(predictions, rare, strict=True)
    )
    Flag.objects.bulk_create(
        Flag(case=case, kind="audit" if is_rare else "escalation") for case, is_rare in zip(cases, rare, strict=True)
    )
    with connection.cursor() as cursor:
        for table in ("case", "casetext", "prediction", "headscore", "flag"):
            cursor.execute(f"analyze webapp_{table}")
        cursor.execute("select gin_clean_pending_list('words_of_cases')")  # As vacuuming does by and by
    return person(Role.SUPERVISOR)


def test_a_page_of_the_queue_is_read_from_indexes_alone(many) -> None:
    rare, common = (searches.keep(many, word).pk for word in ("rare", "common"))
    walked = {
        "queue_order": [
            (Filters(), ""),
            (Filters(), "0.0_-0.5_7"),
            (Filters(older=0), ""),
            (Filters(held="nobody"), ""),
            (Filters(flag="escalation"), ""),
            (Filters(label="main_category:VANE"), ""),
            (Filters(search=common), ""),
        ],
        "queue_order_of_schema": [(Filters(schema="helpline"), "0.0_-0.5_7"), (Filters(schema="customer"), "")],
        "queue_order_of_all": [(Filters(state="any"), "")],
        "urgent_order": [(Filters(order="urgent"), ""), (Filters(order="urgent"), "0.0_-0.5_7")],
        "urgent_order_of_schema": [(Filters(schema="helpline", order="urgent"), "0.9_-0.5_7")],
        "open_flags": [(Filters(flag="audit"), "")],
        "scores_by_answer": [(Filters(label="main_category:GBV"), "")],
        "words_of_cases": [(Filters(search=rare), "")],
    }
    for index, pages in walked.items():
        for given, after in pages:
            page = queue.listed(filters.cases(given, many), order=given.order, after=after)[: queue.PAGE + 1]
            plan = page.explain()
            assert re.search(rf"\b{index}\b", plan), (given, plan)
            assert not re.search(r"Seq Scan on webapp_(?!schema)", plan), (given, plan)
            if "_order" in index:
                assert not re.search(r"^ *->  (?!Incremental)\w* ?Sort", plan, re.MULTILINE), (given, plan)


def test_the_next_case_is_found_in_the_order_of_the_index(many) -> None:
    for index, order in {"queue_order": "", "urgent_order": "urgent"}.items():
        free = Case.objects.filter(state=CaseState.REVIEW, held_by=None).order_by(*queue.ORDERS[order])[:1]
        assert index in free.explain()


@pytest.mark.parametrize("order", list(queue.ORDERS))
def test_deep_pages_begin_where_the_page_before_ended(many, order) -> None:
    page = queue.listed(filters.cases(Filters(), many), order=order, after="0.0_-0.5_7")[: queue.PAGE + 1]
    plan = page.explain(analyze=True)
    removed = [int(number) for number in re.findall(r"Rows Removed by Filter: (\d+)", plan)]
    assert sum(removed) <= 1, plan


def test_cases_are_counted_to_a_thousand(many, signed_in) -> None:
    assert queue.count(Case.objects.all()) == queue.MOST_COUNTED + 1, "it went no further"
    page = signed_in(Role.ADMIN).get("/queue/").content.decode()
    assert "<title>Queue (1,000+) · Caseloop</title>" in page
    assert '<span class="count">1,000+</span>' in page
    Case.objects.exclude(schema__name="customer").delete()
    page = signed_in(Role.ADMIN, "another").get("/queue/").content.decode()
    assert "<h1>Queue (25)</h1>" in page
