"""The ledger: putting a version in use, and going back to the one before."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from ml import registry
from ml.errors import InputError
from ml.gate import Rules, Verdict
from webapp import faults, tasks
from webapp.actions import audit, events
from webapp.errors import NotPromotable
from webapp.models import Case, ModelVersion, Promotion, Schema
from webapp.queries import gate, learning, ledger, schemas

SHORTEST_REASON = 3  # Characters
LONGEST_REASON = 500


@transaction.atomic
def promote(version: ModelVersion, *, by: User | None, reason: str, override: bool = False) -> Promotion:
    """Put a trained version in use; open cases are predicted by it in the background.

    What the gate says is kept with the ledger's row. A person may decide where it is open; where it refuses, only who
    overrides it does.

    Raises:
        NotPromotable: the gate refuses, no reason is given, or the version learnt nothing, belongs to an older schema
            version, is in use already, or has lost its files.
    """
    champion = _held(version.schema_id)
    if not version.is_trained:
        raise NotPromotable("The label definitions are not a trained version; train one first.")
    if champion == version:
        raise NotPromotable(f"Version {version.number} is in use already.")
    found = gate.standing(version)
    is_overridden = found.is_refused and override and by is not None
    if found.is_refused and not is_overridden:
        raise NotPromotable(f"{found.sentence} Only a person who overrides this, with a reason, puts it in use.")
    promotion = _put_in_use(version, champion, by=by, reason=reason, standing=found, is_overridden=is_overridden)
    if is_overridden:
        audit.record(by, "gate overridden", f"version {version.pk}", promotion=promotion.pk)
    return promotion


def promote_if_better(version: ModelVersion) -> Promotion | None:
    """Put a version in use by itself, where the policy lets the gate do so and the gate is sure."""
    rules = Rules.from_json(schemas.policy(version.schema).parsed.gate)
    found = gate.standing(version)
    if not rules.is_automatic or found.verdict != Verdict.BETTER:
        return None
    try:
        return promote(version, by=None, reason=found.sentence[:LONGEST_REASON])
    except NotPromotable:
        return None  # Its schema changed while it was trained


@transaction.atomic
def roll_back(leaving: ModelVersion, *, by: User | None, reason: str) -> Promotion:
    """Put the version back in use that was so before the one to leave. The gate is not asked: it was in use.

    Raises:
        NotPromotable: another version is in use by now, none was before, or the earlier one is of an older schema
            version or has lost its files; or no reason is given.
    """
    if _held(leaving.schema_id) != leaving:
        raise NotPromotable(f"Version {leaving.number} is not in use any more; look at the ledger.")
    version = ledger.earlier(leaving.schema)
    if version is None:
        raise NotPromotable(f"No version was in use before version {leaving.number}.")
    return _put_in_use(version, leaving, by=by, reason=reason, is_rollback=True)


def _held(schema_id: int) -> ModelVersion | None:
    """Return the version in use, which no other process can replace until the transaction ends."""
    return schemas.champion(Schema.objects.select_for_update().get(pk=schema_id))


def _put_in_use(
    version: ModelVersion,
    champion: ModelVersion | None,
    *,
    by: User | None,
    reason: str,
    standing: gate.Standing | None = None,
    is_overridden: bool = False,
    is_rollback: bool = False,
) -> Promotion:
    newest = schemas.newest_version(version.schema)
    if version.schema_version_id != newest.pk:
        raise NotPromotable(f"Version {version.number} was trained for an older schema; train one for {newest}.")
    if not SHORTEST_REASON <= len(reason.strip()) <= LONGEST_REASON:
        raise NotPromotable("Say in a few words why this version is put in use.")
    _check_files(version)
    report = learning.report(version)
    if standing is not None:
        said = {"verdict": standing.verdict.value, "sentence": standing.sentence, **standing.report}
        report |= {"gate": said, "is_overridden": is_overridden}
    promotion = Promotion.objects.create(
        schema=version.schema,
        version=version,
        replaced=champion,
        reason=reason.strip(),
        report=report,
        promoted_by=by,
        is_rollback=is_rollback,
    )
    faults.point("promotion-written")
    Case.objects.filter(schema=version.schema, predicting_attempts__gt=0).update(predicting_attempts=0)
    action = "version rolled back" if is_rollback else "version promoted"
    audit.record(by, action, f"version {version.pk}", replaced=champion.pk if champion else None)
    events.tell_promotion(promotion)
    transaction.on_commit(partial(faults.point, "promotion-committed"))
    transaction.on_commit(partial(tasks.predict_cases.delay, version.schema_id))
    return promotion


def _check_files(version: ModelVersion) -> None:
    """Refuse a version that no worker could load; one without a folder is of a test or of another installation."""
    if not version.folder:
        return
    try:
        found = registry.manifest_hash(Path(settings.MODELS_DIR) / version.folder)
    except (InputError, OSError) as exc:
        raise NotPromotable(f"The files of version {version.number} are gone; train another.") from exc
    if found != version.manifest_hash:
        raise NotPromotable(f"The files of version {version.number} were changed; train another.")
