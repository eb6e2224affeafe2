"""Erasing a case: its text, and all that was written about it, goes for ever; ids and the log stay."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from ml.cache import Cache
from webapp.actions import audit, export_files, flags, outbox
from webapp.errors import NotErasable
from webapp.models import Case, CaseState, CaseText, Erasure, Prediction, Restoration

LONGEST_REASON = 500


@transaction.atomic
def erase(case: Case, *, by: User, reason: str, confirmation: str) -> Erasure:
    """Erase a case everywhere; from Label Studio as soon as it can be reached. Nothing brings it back.

    Args:
        reason: why, without names: it is kept.
        confirmation: the id of the case, typed.

    Raises:
        NotErasable: it is erased already, no reason is given, or the id is another.
    """
    case = Case.objects.select_for_update(of=("self",)).select_related("conversation").get(pk=case.pk)
    if case.state == CaseState.ERASED:
        raise NotErasable("This case has been erased already.")
    if confirmation != case.external_id:
        raise NotErasable("What was typed is not the id of this case; nothing was erased.")
    if not reason.strip():
        raise NotErasable("Say why the case is erased; nothing was erased.")
    conversation, digest = case.conversation, case.text_hash
    case.state, case.held_by, case.held_until, case.current_prediction = CaseState.ERASED, None, None, None
    case.metadata, case.text_length, case.conversation = {}, 0, None
    case.revision += 1
    case.save()  # First: rows of the record may lose their notes only once their case is erased
    CaseText.objects.filter(case=case).delete()  # And its sketch and its words for searching
    Prediction.objects.filter(case=case).delete()
    Restoration.objects.filter(annotation__case=case, external_id=None).delete()
    case.labels.all().delete()
    case.drafts.all().delete()
    case.feedback.update(reason="")
    case.annotations.update(note="", problems=[])
    case.reviews.update(note="")
    case.escalations.update(note="")
    case.reveals.update(note="")
    flags.resolve_all(case)
    if conversation is not None and not conversation.cases.exists():
        conversation.delete()  # Its id may be a number to call
    outbox.want_out([case])
    row = Erasure.objects.create(case=case, person=by, reason=reason.strip()[:LONGEST_REASON])
    audit.record(by, "case erased", f"case {case.pk}")
    transaction.on_commit(partial(export_files.remove_all, case.schema))
    if not CaseText.objects.filter(case__text_hash=digest).exists():  # The same words may have come twice
        transaction.on_commit(partial(_forget, digest))
    return row


def _forget(digest: str) -> None:
    """Remove what encoders made of the text."""
    Cache(Path(settings.CACHE_DIR) / "vectors").forget(digest)
