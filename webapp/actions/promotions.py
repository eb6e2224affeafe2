"""The ledger: putting a version in use."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from webapp import tasks
from webapp.actions import audit
from webapp.errors import NotPromotable
from webapp.models import Case, ModelVersion, Promotion, Schema
from webapp.queries import schemas


@transaction.atomic
def promote(version: ModelVersion, *, by: User | None, reason: str, report: dict[str, Any] | None = None) -> Promotion:
    """Put a trained version in use; open cases are predicted by it in the background.

    Raises:
        NotPromotable: the version learnt nothing, belongs to an older schema version, or is in use already.
    """
    Schema.objects.select_for_update().get(pk=version.schema_id)  # One promotion at a time
    champion = schemas.champion(version.schema)
    newest = schemas.newest_version(version.schema)
    if not version.is_trained:
        raise NotPromotable("The label definitions are not a trained version; train one first.")
    if champion == version:
        raise NotPromotable(f"Version {version.number} is in use already.")
    if version.schema_version_id != newest.pk:
        raise NotPromotable(f"Version {version.number} was trained for an older schema; train one for {newest}.")
    promotion = Promotion.objects.create(
        schema=version.schema,
        version=version,
        replaced=champion,
        reason=reason,
        report=report or {},
        promoted_by=by,
    )
    Case.objects.filter(schema=version.schema, predicting_attempts__gt=0).update(predicting_attempts=0)
    audit.record(by, "version promoted", f"version {version.pk}", replaced=champion.pk if champion else None)
    transaction.on_commit(partial(tasks.predict_cases.delay, version.schema_id))
    return promotion
