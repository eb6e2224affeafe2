"""A model that was made elsewhere becomes a version that can be put in use."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import CommandError

from ml import registry
from ml.serving import Predictor
from tests import tiny
from tests.conftest import case_named, row_of, train
from tests.test_commands import run
from webapp import worker
from webapp.actions import promotions
from webapp.models import Evaluation, ModelVersion
from webapp.queries import learning
from webapp.roles import Role

NOT_MEASURED = "Not measured: no labelled case is on the test side. Register it again once one is."


def test_a_folder_is_registered_put_in_use_and_answers(toy, tiny_folder, import_rows, signed_in, sent) -> None:
    out, _ = run("register_model", tiny_folder)
    version = ModelVersion.objects.get(kind="trained")
    assert out == [f"version 1 of {toy.title} is registered; put it in use on the page Models.", NOT_MEASURED]
    assert registry.checked_manifest(Path(configured.MODELS_DIR) / version.folder) == version.manifest
    assert signed_in(Role.ADMIN).get(f"/models/versions/{version.pk}/").status_code == 200
    promotions.promote(version, by=None, reason="made elsewhere")
    import_rows(toy, {"id": "1", "text": "the ship was there"})
    worker.predict_cases(toy.pk)
    assert case_named("1").current_prediction.version == version


def test_a_registered_model_is_measured_on_the_test_cases_beside_the_version_in_use(
    toy, tiny_folder, import_rows, signed_in, sent
) -> None:
    import_rows(toy, *(row_of(case) for case in tiny.cases(80, seed=3)))
    trained = train(toy)
    promotions.promote(trained.version, by=None, reason="the first")
    out, err = run("register_model", tiny_folder)
    held_out = trained.snapshot.rows.filter(side="test").count()
    assert len(out) == 1
    assert f"measuring: {held_out} of {held_out} texts" in err
    version = ModelVersion.objects.get(number=2)
    evaluation, champion, rows = learning.compare(version)
    assert (evaluation.snapshot, champion) == (trained.snapshot, trained.version)
    assert {row.n for row in rows} == {held_out}
    texts = {row.case_id: row.case.stored_text.text for row in trained.snapshot.rows.filter(side="test")}
    said = Predictor(tiny_folder).predict(list(texts.values()))
    right = [
        trained.snapshot.rows.get(case=case).labels["place"] == found["place"].answer
        for case, found in zip(texts, said, strict=True)
    ]
    assert rows[0].challenger == pytest.approx(sum(right) / held_out)
    assert Evaluation.objects.filter(version=trained.version).count() == 1
    admin = signed_in(Role.ADMIN)
    page = admin.get(f"/models/versions/{version.pk}/").content.decode()
    assert "Made elsewhere, and registered on" in page
    assert "the same cases as version 1, which was in use" in page
    assert "Trained by" in admin.get(f"/models/versions/{trained.version.pk}/").content.decode()
    assert f'<a href="/models/versions/{version.pk}/">2</a>' in admin.get("/models/").content.decode()
    with pytest.raises(CommandError, match="is registered already, as version 2"):
        run("register_model", tiny_folder)


def test_what_was_registered_before_there_were_test_cases_is_measured_by_registering_it_again(
    toy, tiny_folder, import_rows, sent
) -> None:
    run("register_model", tiny_folder)
    import_rows(toy, *(row_of(case) for case in tiny.cases(80, seed=3)))
    out, _ = run("register_model", tiny_folder)
    assert out == [f"version 1 of {toy.title} is registered; put it in use on the page Models."]
    assert learning.compare(ModelVersion.objects.get(kind="trained"))[2][0].champion is None


def test_a_folder_whose_files_are_no_network_is_refused(toy, tiny_folder, tmp_path) -> None:
    folder = tmp_path / "given"
    shutil.copytree(tiny_folder, folder)
    (folder / "heads.onnx").write_bytes(b"other")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["heads.onnx"] = hashlib.sha256(b"other").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CommandError, match="does not answer"):
        run("register_model", folder)
    assert not ModelVersion.objects.filter(kind="trained").exists()
    assert not Path(configured.MODELS_DIR).exists()


def test_an_imported_checkpoint_is_registered(helpline, published, tmp_path, settings, signed_in) -> None:
    from ml import checkpoint, schema

    settings.MODELS_DIR = tmp_path / "models"
    checkpoint.save(checkpoint.read(published, schema.load("helpline")), tmp_path / "served")
    run("register_model", tmp_path / "served")
    version = ModelVersion.objects.get(kind="trained")
    page = signed_in(Role.ADMIN).get(f"/models/versions/{version.pk}/").content.decode()
    assert "not calibrated" in page
    assert "Made elsewhere, from the checkpoint four-heads, and registered on" in page
    assert "It does not answer: Entities, Call quality. In use, it leaves these to people." in page


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
