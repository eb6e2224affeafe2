"""A model that was made elsewhere becomes a version that can be put in use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import CommandError

from ml import registry
from tests.conftest import case_named
from tests.test_commands import run
from webapp import worker
from webapp.actions import promotions
from webapp.models import ModelVersion
from webapp.roles import Role


def test_a_folder_is_registered_put_in_use_and_answers(toy, tiny_folder, import_rows, signed_in, sent) -> None:
    out, _ = run("register_model", tiny_folder)
    version = ModelVersion.objects.get(kind="trained")
    assert out == [f"version 1 of {toy.title} is registered; put it in use on the page Models."]
    assert registry.checked_manifest(Path(configured.MODELS_DIR) / version.folder) == version.manifest
    assert signed_in(Role.ADMIN).get(f"/models/versions/{version.pk}/").status_code == 200
    promotions.promote(version, by=None, reason="made elsewhere")
    import_rows(toy, {"id": "1", "text": "the ship was there"})
    worker.predict_cases(toy.pk)
    assert case_named("1").current_prediction.version == version
    with pytest.raises(CommandError, match="is registered already, as version 1"):
        run("register_model", tiny_folder)


def test_an_imported_checkpoint_is_registered(helpline, published, tmp_path, settings, signed_in) -> None:
    from ml import checkpoint, schema

    settings.MODELS_DIR = tmp_path / "models"
    checkpoint.save(checkpoint.read(published, schema.load("helpline")), tmp_path / "served")
    run("register_model", tmp_path / "served")
    version = ModelVersion.objects.get(kind="trained")
    assert "not calibrated" in signed_in(Role.ADMIN).get(f"/models/versions/{version.pk}/").content.decode()


@pytest.mark.parametrize("change", ["file", "schema", "head", "label", "nothing there"])
def test_a_folder_that_does_not_fit_is_refused_in_words(toy, tiny_folder, tmp_path, change) -> None:
    folder = tmp_path / "given"
    shutil.copytree(tiny_folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    document = manifest["schema"]["document"]
    if change == "file":
        (folder / "heads.onnx").write_bytes(b"other")
        message = "its SHA-256 differs"
    elif change == "schema":
        manifest["schema"]["document"] = document.replace('name = "toy"', 'name = "other"')
        message = "the model is of the schema other, which is not registered"
    elif change == "head":
        manifest["heads"].append("colour")
        message = "the model answers colour; expected heads of toy 1: place, "
    elif change == "label":
        manifest["schema"]["document"] = document.replace('"calm"', '"quiet"')
        message = "mood of the model differs from that of toy 1 in quiet, calm"
    else:
        folder = tmp_path / "none"
        message = "expected a model folder"
    if folder.exists():
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CommandError) as refusal:
        run("register_model", folder)
    assert message in str(refusal.value)
    assert list(ModelVersion.objects.filter(kind="trained")) == []
    assert not Path(configured.MODELS_DIR).exists()
