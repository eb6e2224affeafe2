"""What surrogates stand for in the text of a case: written down before it is given out, and read when it comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from annotate import config, inspection
from annotate.payloads import AnnotationReceived
from ml import surrogates, types
from ml.answers import Problem
from ml.schema import Kind
from ml.schema import Schema as ParsedSchema
from ml.surrogates import Key
from webapp.models import Case, CaseText, Cover, Prediction
from webapp.queries import schemas

MOST_OF_CONVERSATION = 50  # Covers whose surrogates a further message of it has too


def current(case: Case) -> Cover | None:
    """Return what of a case is covered by the policy in force, as a row; None where the policy hides nothing.

    What was covered once by the same rules stays so, by the same surrogate, whatever another version says; and what is
    covered in one message is covered in the others of its conversation.
    """
    policy = schemas.policy(case.schema).parsed
    nouns = surrogates.nouns(schemas.newest_version(case.schema).parsed, policy.hidden_labels)
    if not nouns:
        return None
    rules = {"labels": sorted(nouns), "region": policy.phone_region}
    newest = case.covers.filter(rules=rules).order_by("-id").first()
    text = case.stored_text.text
    known = _of_conversation(case, rules) | (newest.parsed.given(text) if newest else {})
    found = surrogates.cover(text, _spans(case), nouns, region=policy.phone_region, known=known)
    if newest is not None and newest.parsed == found:
        return newest
    return Cover.objects.create(case=case, pieces=found.as_json(), rules=rules)


def named(case: Case, number: int | None) -> Cover | None:
    """Return the cover of a case that has a number; None if there is none."""
    return case.covers.filter(pk=number).first() if number else None


def sent(
    case: Case, parsed: ParsedSchema, prediction: types.Prediction | None, row: Cover | None
) -> tuple[str, types.Prediction | None]:
    """Return the text of a case and a prediction on it as they are given out."""
    if row is None:
        return case.stored_text.text, prediction
    moved = prediction and surrogates.as_shown(prediction, parsed, row.parsed)
    return row.parsed.applied(case.stored_text.text), moved


def covered_answers(parsed: ParsedSchema, answers: types.Labels, row: Cover | None) -> types.Labels:
    """Return answers about a case as answers about what is given out of it."""
    heads = {head.key for head in parsed.of_kind(Kind.SPANS)} if row else set()
    return {
        key: row.parsed.spans_out(types.spans_of(answer)) if row and key in heads else answer
        for key, answer in answers.items()
    }


def brought_back(
    case: Case, parsed: ParsedSchema, data: Any, received: AnnotationReceived, shown: Prediction | None
) -> AnnotationReceived:
    """Return an annotation with its spans on the original text.

    Args:
        data: that of the task, which names the cover that it was sent with.
        shown: what was filled in: a span of it that was left stands exactly as it was predicted.
    """
    number = inspection.cover_of(data)
    if number is None:
        return received
    heads = [head for head in parsed.of_kind(Kind.SPANS) if head.key in received.labels]
    row, text = named(case, number), CaseText.objects.filter(case=case).values_list("text", flat=True).first()
    if row is None or text is None or row.parsed.applied(text) != data.get(config.TEXT):
        kept = {key: answer for key, answer in received.labels.items() if key not in {head.key for head in heads}}
        lost = (Problem(head.key, f"{head.key} has spans of a text that is not the one sent") for head in heads)
        return replace(received, labels=kept, problems=(*received.problems, *lost))
    said = shown.heads if shown else {}
    moved = {
        head.key: row.parsed.spans_back(
            types.spans_of(received.labels[head.key]),
            known=types.spans_of(said[head.key]["answer"]) if head.key in said else (),
        )
        for head in heads
    }
    return replace(received, labels=received.labels | moved)


def _spans(case: Case) -> list[types.Span]:
    """Return the entities that the model found and those that people did, under whatever version of the schema."""
    said = case.current_prediction.heads if case.current_prediction else {}
    answers = [*(found["answer"] for found in said.values()), *case.labels.values_list("answer", flat=True)]
    found = [span for answer in answers for span in types.spans_of(answer)]
    return [span for span in found if "start" in span]


def _of_conversation(case: Case, rules: dict[str, Any]) -> dict[Key, str]:
    """Return the surrogates that the other messages of a conversation have; the oldest use of one counts."""
    if case.conversation_id is None:
        return {}
    rows = Cover.objects.filter(case__conversation=case.conversation_id, rules=rules).exclude(case=case)
    found: dict[Key, str] = {}
    for row in rows.select_related("case__stored_text").order_by("-id")[:MOST_OF_CONVERSATION]:
        if hasattr(row.case, "stored_text"):
            found |= row.parsed.given(row.case.stored_text.text)
    return found
