"""Routing and expected harm, with values worked out by hand."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import policy, schema
from ml.policy import Destination, FlagKind, Policy, Side
from ml.types import HeadPrediction

HELPLINE = schema.load("helpline")
CUSTOMER = schema.load("customer")
POLICY = Policy(thresholds={"main_category": 0.70, "priority": 0.60})
SURE = HeadPrediction("VANE", 0.9, {"VANE": 0.9, "GBV": 0.1})


def priority(one, two, three):
    probabilities = {"1": one, "2": two, "3": three}
    answer = max(probabilities, key=probabilities.get)
    return HeadPrediction(answer, probabilities[answer], probabilities)


def decide(**prediction):
    return policy.decide(HELPLINE, POLICY, prediction, is_audit=False)


def test_a_sure_case_is_accepted_with_the_harm_that_is_left():
    decision = decide(main_category=SURE, priority=priority(0.05, 0.9, 0.05))
    assert decision.destination == Destination.ACCEPTED
    assert decision.reasons == ()
    assert decision.harm == pytest.approx(0.1 * 1 + 0.05 * 10 + 0.05 * 1)


def test_an_unsure_case_goes_to_labelling_and_says_what_it_might_be():
    unsure = HeadPrediction("VANE", 0.5, {"VANE": 0.5, "GBV": 0.3, "Nutrition": 0.2})
    decision = decide(main_category=unsure, priority=priority(0.0, 1.0, 0.0))
    assert decision.destination == Destination.LABELLING
    (reason,) = decision.reasons
    assert (reason.kind, reason.head) == (FlagKind.LOW_CONFIDENCE, "main_category")
    assert reason.facts == {"confidence": 0.5, "threshold": 0.70, "likely": [("VANE", 0.5), ("GBV", 0.3)]}
    assert decision.harm == pytest.approx(0.5)


def test_a_confidence_at_the_threshold_is_enough():
    at = HeadPrediction("VANE", 0.70, {"VANE": 0.70, "GBV": 0.30})
    assert decide(main_category=at, priority=priority(0.0, 1.0, 0.0)).destination == Destination.ACCEPTED


def test_a_likely_enough_urgent_end_is_reviewed_though_another_answer_is_likelier():
    decision = decide(main_category=SURE, priority=priority(0.15, 0.85, 0.0))
    assert decision.destination == Destination.REVIEW
    (reason,) = decision.reasons
    assert (reason.kind, reason.head) == (FlagKind.URGENT, "priority")
    assert reason.facts == {"probability": 0.15, "threshold": 0.15, "label": "1"}


def test_below_the_urgent_threshold_nothing_is_urgent():
    assert decide(main_category=SURE, priority=priority(0.149, 0.851, 0.0)).destination == Destination.ACCEPTED


def test_urgency_counts_also_for_a_head_that_does_not_route():
    only_main = Policy(thresholds={"main_category": 0.70})
    prediction = {"main_category": SURE, "priority": priority(0.9, 0.1, 0.0)}
    decision = policy.decide(HELPLINE, only_main, prediction, is_audit=False)
    assert decision.destination == Destination.REVIEW
    assert decision.harm == pytest.approx(0.1)


def test_an_untrained_head_asks_a_person_and_counts_as_wrong():
    decision = decide(main_category=SURE, priority=HeadPrediction("2", None))
    assert decision.destination == Destination.LABELLING
    assert [(reason.kind, reason.head) for reason in decision.reasons] == [(FlagKind.UNTRAINED, "priority")]
    assert decision.harm == pytest.approx(0.1 + 1 + 10 / 3)


def test_an_urgent_end_of_unknown_probability_asks_a_person_also_where_the_head_does_not_route():
    only_main = Policy(thresholds={"main_category": 0.70})
    unknown = HeadPrediction("1", None, {"1": 0.9, "2": 0.1, "3": 0.0})
    decision = policy.decide(HELPLINE, only_main, {"main_category": SURE, "priority": unknown}, is_audit=False)
    assert decision.destination == Destination.LABELLING
    assert [(reason.kind, reason.head) for reason in decision.reasons] == [(FlagKind.UNTRAINED, "priority")]


def test_a_text_unlike_what_was_learnt_from_is_labelled_and_counts_as_wrong_however_sure_the_model_is():
    prediction = {"main_category": SURE, "priority": priority(0.0, 1.0, 0.0)}
    decision = policy.decide(HELPLINE, POLICY, prediction, is_audit=False, is_familiar=False)
    assert decision.destination == Destination.LABELLING
    assert [(reason.kind, reason.head) for reason in decision.reasons] == [(FlagKind.UNFAMILIAR, None)]
    assert decision.harm == policy.decide(HELPLINE, POLICY, {}, is_audit=False).harm
    urgent = {"main_category": SURE, "priority": priority(0.9, 0.1, 0.0)}
    assert policy.decide(HELPLINE, POLICY, urgent, is_audit=False, is_familiar=False).destination == Destination.REVIEW


def test_an_audited_case_is_labelled_however_sure_the_model_is():
    prediction = {"main_category": SURE, "priority": priority(0.0, 1.0, 0.0)}
    decision = policy.decide(HELPLINE, POLICY, prediction, is_audit=True)
    assert decision.destination == Destination.LABELLING
    assert [reason.kind for reason in decision.reasons] == [FlagKind.AUDIT]


def test_answering_the_urgent_end_wrongly_costs_no_more_than_another_mistake():
    assert policy.head_harm(HELPLINE.head("priority"), POLICY, priority(0.8, 0.2, 0.0)) == pytest.approx(0.2)


def test_harm_is_of_missing_the_urgent_end_and_of_other_mistakes():
    head = HELPLINE.head("priority")
    assert policy.harm_parts(head, POLICY, priority(0.3, 0.5, 0.2)) == pytest.approx((3.0, 0.2))
    assert policy.harm_parts(head, POLICY, priority(0.8, 0.15, 0.05)) == pytest.approx((0.0, 0.2))
    assert policy.harm_parts(head, POLICY, None) == pytest.approx((10 / 3, 1.0))


def test_the_cost_table_is_used():
    dear = Policy(thresholds={"main_category": 0.7}, mistake_cost={"main_category": 3.0})
    assert policy.expected_harm(HELPLINE, dear, {"main_category": SURE}) == pytest.approx(0.3)


def test_several_labels_count_by_the_confidence_of_the_whole_answer():
    tags = HeadPrediction(["Hot-buyer"], 0.6, {"Hot-buyer": 0.9, "Deal-seeker": 0.3})
    assert policy.expected_harm(CUSTOMER, Policy.default(CUSTOMER), {"tags": tags}) == pytest.approx(0.4)


ENTITIES = Policy(thresholds={"entities": 0.7})


def names(*confidences):
    spans = [{"start": at, "end": at + 1, "label": "NAME"} for at in range(len(confidences))]
    for span, confidence in zip(spans, confidences, strict=True):
        if confidence is not None:
            span["confidence"] = confidence
    return HeadPrediction(spans, None)


@pytest.mark.parametrize(
    ("answer", "confidence"),
    [
        pytest.param(names(0.9, 0.8), 0.72, id="all are right by their product"),
        pytest.param(names(), 1.0, id="none found"),
        pytest.param(names(0.9, None), None, id="nobody trained it"),
        pytest.param(None, None, id="no answer"),
    ],
)
def test_spans_route_by_the_confidence_that_all_of_them_are_right(answer, confidence):
    assert policy.routing_confidence(HELPLINE.head("entities"), answer) == pytest.approx(confidence)


def test_spans_that_the_policy_names_ask_a_person_where_they_are_unsure():
    sure = policy.decide(HELPLINE, ENTITIES, {"entities": names(0.9, 0.8)}, is_audit=False)
    assert (sure.destination, sure.harm) == (Destination.ACCEPTED, pytest.approx(0.28))
    unsure = policy.decide(HELPLINE, ENTITIES, {"entities": names(0.9, 0.5)}, is_audit=False)
    (reason,) = unsure.reasons
    assert (reason.kind, reason.facts["confidence"]) == (FlagKind.LOW_CONFIDENCE, pytest.approx(0.45))
    untrained = policy.decide(HELPLINE, ENTITIES, {"entities": names(None)}, is_audit=False)
    assert [reason.kind for reason in untrained.reasons] == [FlagKind.UNTRAINED]
    assert untrained.harm == 1.0


def test_spans_and_rubrics_that_the_policy_does_not_name_change_nothing():
    sure = {"main_category": SURE, "priority": priority(0.0, 1.0, 0.0)}
    rubric = HeadPrediction({"opening": {"phrase": True}}, 0.01, {"opening.phrase": 0.6})
    assert decide(**sure, entities=names(0.01), call_quality=rubric) == decide(**sure)


def test_a_rubric_that_the_policy_names_counts_by_the_confidence_of_the_whole():
    rubric = HeadPrediction({"opening": {"phrase": True}}, 0.6, {"opening.phrase": 0.9})
    by_rubric = Policy(thresholds={"call_quality": 0.5})
    assert (
        policy.decide(HELPLINE, by_rubric, {"call_quality": rubric}, is_audit=False).destination == Destination.ACCEPTED
    )
    assert policy.expected_harm(HELPLINE, by_rubric, {"call_quality": rubric}) == pytest.approx(0.4)


def test_the_first_policy_routes_by_the_choices_of_the_schema():
    assert Policy.default(HELPLINE).thresholds == {"main_category": 0.70, "sub_category": 0.70, "priority": 0.70}
    assert Policy.default(CUSTOMER).thresholds == {"tags": 0.70}


def test_a_policy_survives_its_table():
    assert Policy(**POLICY.as_json()) == POLICY


MOMENT = datetime(2025, 6, 1, tzinfo=UTC)
HARMS = st.floats(min_value=1e-3, max_value=50)
AGES = st.floats(min_value=0, max_value=500)


@given(
    first=st.tuples(HARMS, AGES), second=st.tuples(HARMS, AGES), later=st.floats(0, 1000), doubling=st.floats(1, 200)
)
def test_rank_orders_as_harm_that_doubles_does_at_every_moment(first, second, later, doubling):
    def grown(harm, age_hours):
        return math.log2(harm) + (age_hours + later) / doubling

    def rank(harm, age_hours):
        return policy.rank(harm, MOMENT - timedelta(hours=age_hours), doubling_hours=doubling)

    difference = grown(*first) - grown(*second)
    assert rank(*first) - rank(*second) == pytest.approx(difference, abs=1e-5)


def test_a_day_of_waiting_weighs_as_much_as_twice_the_harm():
    waiting = policy.rank(1.0, MOMENT - timedelta(hours=24), doubling_hours=24)
    assert waiting == pytest.approx(policy.rank(2.0, MOMENT, doubling_hours=24))


def test_no_harm_at_all_has_a_rank():
    assert policy.rank(0.0, MOMENT, doubling_hours=24) == policy.rank(policy.SMALLEST_HARM, MOMENT, doubling_hours=24)


def test_about_the_share_is_audited_and_always_the_same_cases():
    def audited(salt):
        return {n for n in range(10_000) if policy.is_audited("demo", str(n), salt=salt, share=0.05)}

    assert len(audited("salt")) == pytest.approx(500, abs=75)
    assert audited("salt") == audited("salt")
    assert len(audited("salt") & audited("pepper")) < 75


def test_a_larger_share_keeps_the_cases_of_a_smaller_one():
    small = {n for n in range(2000) if policy.is_audited("demo", str(n), salt="s", share=0.05)}
    large = {n for n in range(2000) if policy.is_audited("demo", str(n), salt="s", share=0.10)}
    assert small < large


@pytest.mark.parametrize(
    ("has_labels", "shares"),
    [
        pytest.param(True, {Side.TEST: 0.2, Side.TRAIN: 0.7, Side.VALIDATION: 0.1}, id="came with labels"),
        pytest.param(False, {Side.TEST: 0.0, Side.TRAIN: 0.9, Side.VALIDATION: 0.1}, id="came without"),
    ],
)
def test_sides_have_their_shares(has_labels, shares):
    sides = [policy.side_of("demo", str(n), is_audit=False, has_labels=has_labels) for n in range(10_000)]
    for side, share in shares.items():
        assert sides.count(side) / len(sides) == pytest.approx(share, abs=0.015)


def test_an_audited_case_is_always_tested_on():
    assert {policy.side_of("demo", str(n), is_audit=True, has_labels=n % 2 == 0) for n in range(50)} == {Side.TEST}


def test_the_side_of_a_case_never_changes():
    sides = [policy.side_of("demo", f"call-{n:04d}", is_audit=False, has_labels=True).value for n in range(1, 11)]
    assert sides == ["train", "train", "test", "train", "test", "train", "train", "train", "test", "train"]
