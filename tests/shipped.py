"""Tiny models of the two shipped schemas, in use, with all services on that Caseloop stands in for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ml import registry, schema
from ml.types import Example
from tests import tiny
from tests.conftest import change_policy
from webapp import serving
from webapp.actions import promotions
from webapp.models import ModelVersion, Schema
from webapp.queries import schemas as in_force

NAMES = ("helpline", "customer")
TAGS = {
    "calm": "First-time-visitor",
    "wave": "Wishlist-user",
    "ship": "Deal-seeker",
    "hill": "Window-shopper",
    "road": "Hot-buyer",
}


def write(place: Path, *, encoder: Any, exports: Path) -> Path:
    """Train both into a folder: a ship is urgent violence, and of a deal seeker."""
    from ml import export, training

    for name in NAMES:
        parsed = schema.load(name)
        examples = [
            Example(id=str(n), text=one.text, labels=_labels(parsed, one.text)) for n, one in enumerate(tiny.cases(80))
        ]
        trained = training.train(examples, parsed, tiny.QUICK, encoder=encoder, exports=exports)
        export.save(trained, place / name, data_hash=name)
    return place


def switch_on(settings: Any, folders: Path) -> None:
    """Put both in use, and let calls from this machine in."""
    settings.MODELS_DIR = folders
    settings.DROPINS, settings.DROPIN_NETWORKS = ["classify", "tagger", "helpline"], ["127.0.0.0/8"]
    serving.forget()
    for name in NAMES:
        put_in_use(Schema.objects.get(name=name), folders / name)


def put_in_use(row: Schema, folder: Path) -> None:
    """Promote a folder, and wait until it is loaded."""
    change_policy(row, audit_share=0.0)
    version = ModelVersion.objects.create(
        schema=row,
        schema_version=in_force.newest_version(row),
        kind="trained",
        number=1,
        folder=folder.name,
        manifest_hash=registry.manifest_hash(folder),
    )
    promotions.promote(version, by=None, reason="a test needs it")
    for _ in range(200):  # Where it is cold, each operation says so; that is another test's
        try:
            serving.serving(row)
        except serving.NotServed:
            time.sleep(0.05)


def _labels(parsed: schema.Schema, text: str) -> Any:
    is_ship = "ship" in text.lower()
    if parsed.name == "customer":
        return {"tags": [tag for word, tag in TAGS.items() if word in text.lower()]}
    quality = parsed.head("call_quality")
    return {
        "main_category": "VANE" if is_ship else "Nutrition",
        "intervention": ["Counselling", "Referral"] if is_ship else ["Referral"],
        "priority": "1" if is_ship else "3",
        "entities": tiny.names(text),
        "call_quality": {group.key: {one.key: is_ship for one in group.criteria} for group in quality.groups},
    }
