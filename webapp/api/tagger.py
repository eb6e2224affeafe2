"""Standing in for the message tagger."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from ml.schema import Head, Kind
from webapp.actions import answering, conversations
from webapp.actions.conversations import Message
from webapp.api.base import Problem
from webapp.api.dropins import REFUSALS, TAGGER, Call, DropinAuth, Text, client_of, schema_of
from webapp.casefiles.columns import LONGEST
from webapp.models import CaseText
from webapp.queries import schemas
from webapp.serving import TRAINING_SECONDS, NotServed, serving

LAST = 2  # Messages of the evidence
LONGEST_EVIDENCE = 50  # Characters
router = Router(tags=["tagger"])


class OneMessage(Call):
    """A message to tag."""

    message: Text


class NextMessage(OneMessage):
    """The next message of a conversation."""

    conversation_id: str = Field(min_length=1, max_length=LONGEST["conversation"])


@router.post("/classify-message", response={200: dict[str, Any], 503: Problem, **REFUSALS}, auth=DropinAuth(TAGGER))
def classify_message(request: HttpRequest, body: OneMessage) -> dict[str, Any]:
    """Store a message and tag it by itself."""
    head, message = _tagged(request, body.message)
    found = [(tag, value) for tag, value in message.probabilities.items()]
    told = [{"tag": tag, "confidence": value} for tag, value in sorted(found, key=lambda one: (-one[1], one[0]))]
    selected = [one for one in told if message.probabilities[str(one["tag"])] >= head.threshold]
    return {"threshold": head.threshold, "selected": selected, "all": told}


@router.post(
    "/classify-conversation", response={200: dict[str, Any], 503: Problem, **REFUSALS}, auth=DropinAuth(TAGGER)
)
def classify_conversation(request: HttpRequest, body: NextMessage) -> dict[str, Any]:
    """Store a message and tag its conversation by the last three."""
    head, message = _tagged(request, body.message, body.conversation_id)
    source = client_of(request).source
    found, switched, counted = conversations.add(source, body.conversation_id, message, threshold=head.threshold)
    texts = dict(CaseText.objects.filter(case__in=[one.case for one in counted]).values_list("case_id", "text"))
    return {
        "conversation_id": body.conversation_id,
        "threshold": head.threshold,
        "conversation_tag": found.tag and {"tag": found.tag, "confidence": found.confidence},
        "switched": switched,
        "evidence": [
            {"message": _cut(texts[one.case]), "top": _top(one)} for one in counted[-LAST:] if one.case in texts
        ],
    }


@router.delete("/conversation/{path:name}", response={200: dict[str, str], **REFUSALS}, auth=DropinAuth(TAGGER))
def forget_conversation(request: HttpRequest, name: str) -> dict[str, str]:
    """Begin a conversation anew; its cases stay."""
    is_known = conversations.forget(client_of(request).source, name)
    return {"message": "the conversation was cleared" if is_known else "there was no such conversation"}


def _tagged(request: HttpRequest, text: str, conversation: str = "") -> tuple[Head, Message]:
    """Store a message and answer its tags."""
    client, schema = client_of(request), schema_of(TAGGER)
    head = schemas.newest_version(schema).parsed.of_kind(Kind.CHOICES)[0]
    version, model = serving(schema)
    if head.key not in model.manifest["heads"]:
        raise NotServed(f"{version} of {schema.name} does not answer {head.key}", TRAINING_SECONDS)
    case, _, said = answering.answer(schema, text, source=client.source, by=client.token, conversation=conversation)
    return head, Message(case.pk, said[head.key].probabilities or {})


def _top(message: Message) -> dict[str, Any]:
    tag, confidence = max(message.probabilities.items(), key=lambda one: one[1])
    return {"tag": tag, "confidence": confidence}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_EVIDENCE else text[:LONGEST_EVIDENCE] + "..."
