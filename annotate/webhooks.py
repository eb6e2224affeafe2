"""Webhooks of Label Studio. They are only a nudge to poll: nothing in their body is ever stored or believed.

Label Studio sends each event once, unsigned and without an id, and loses it when the receiver is away. So
`client.changed_since` is the truth, and a webhook merely makes it look sooner.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass

from annotate.errors import PayloadError

SECRET_HEADER = "X-Caseloop-Secret"  # noqa: S105 - the name of a header
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED")
LARGEST_BODY = 1_048_576  # Bytes. Ours hold an action alone, but a webhook made by hand carries the whole task


@dataclass(frozen=True, slots=True)
class Nudge:
    """A reason to poll: what happened, and in which project if the body says so."""

    action: str
    project: int | None = None


def is_authentic(header: str | None, secret: str) -> bool:
    """Tell whether the secret header of a request is the right one, in a time that does not depend on it.

    An empty secret authenticates nobody, so that a setting left empty cannot open the door.
    """
    given = (header or "").encode("utf-8", errors="surrogateescape")
    return bool(secret) and hmac.compare_digest(given, secret.encode())


def parse(body: bytes) -> Nudge | None:
    """Read the body of a webhook; None if it is about something that does not concern us.

    Raises:
        PayloadError: the body is too large, or not an object with an action.
    """
    if len(body) > LARGEST_BODY:
        raise PayloadError(f"webhook body has {len(body)} bytes; at most {LARGEST_BODY} are read")
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as exc:
        # Without the parser's message or its cause: they would quote the body.
        raise PayloadError(f"webhook body is not JSON ({type(exc).__name__})") from None
    action = event.get("action") if isinstance(event, dict) else None
    if not isinstance(action, str):
        raise PayloadError("webhook body has no action; expected an object with the text 'action'")
    if action not in ACTIONS:
        return None
    project = event.get("project")
    number = project.get("id") if isinstance(project, dict) else project
    return Nudge(action, number if isinstance(number, int) and not isinstance(number, bool) else None)
