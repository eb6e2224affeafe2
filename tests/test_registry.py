from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from ml import registry
from ml.registry import ModelFolderError
from tests import tiny

CASES = tiny.cases(20)


FILES = ["centres.npy", "encoder.onnx", "heads.onnx", "tokenizer.json", "heads.safetensors"]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "model")


def test_a_folder_that_is_whole_is_read(folder: Path) -> None:
    manifest = registry.checked_manifest(folder)
    assert manifest == registry.read_manifest(folder)
    assert registry.schema_of(manifest) == tiny.toy_schema()
    assert set(manifest["files"]) == {*FILES}
    assert set(manifest["libraries"]) >= {"python", "onnxruntime", "tokenizers"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, -1], ids=["first byte", "last byte"])
def test_a_changed_byte_in_any_file_is_refused(folder: Path, name: str, at: int) -> None:
    changed = bytearray((folder / name).read_bytes())
    changed[at] ^= 1
    (folder / name).write_bytes(bytes(changed))
    with pytest.raises(ModelFolderError, match=f"{name} is not the file that was saved: its SHA-256 differs"):
        registry.checked_manifest(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "heads.safetensors", "manifest.json"])
def test_a_file_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=f"{name} cannot be read: No such file"):
        registry.checked_manifest(folder)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param("{", "is not JSON", id="damaged"),
        pytest.param("[]", "has format None; this version reads 2", id="another form"),
        pytest.param('{"format": 1}', "has format 1; this version reads 2", id="older"),
        pytest.param('{"format": 3}', "has format 3; this version reads 2", id="newer"),
        pytest.param('{"format": 2}', "lacks calibration, encoder, files, heads, schema", id="incomplete"),
        pytest.param(
            '{"format": 2, "calibration": {}, "encoder": {}, "heads": [], "schema": {}, "files": {"heads.onnx": ""}}',
            "lacks encoder.onnx, tokenizer.json",
            id="files that are not checked",
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, manifest: str, message: str) -> None:
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(ModelFolderError, match=message):
        registry.checked_manifest(folder)


def test_the_hash_of_a_manifest_changes_with_any_file_that_it_names(folder: Path) -> None:
    before = registry.manifest_hash(folder)
    assert before == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "heads.onnx").write_bytes(b"another")
    old = json.loads((folder / "manifest.json").read_text())
    registry.write_manifest(folder, {key: old[key] for key in old if key not in ("files", "created_at")})
    assert registry.manifest_hash(folder) != before


def test_a_draft_takes_its_name_whole_and_can_be_read_by_others(tmp_path: Path) -> None:
    with registry.draft(tmp_path / "new" / "model") as draft:
        (draft / "file").write_text("x")
        assert not (tmp_path / "new" / "model").exists()
        assert draft.stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    assert (tmp_path / "new" / "model").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "model" / "file").stat().st_mode & 0o777 == 0o644


def test_a_draft_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with registry.draft(tmp_path / "model") as draft:
            (draft / "file").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_never_overwritten(folder: Path) -> None:
    with (
        pytest.raises(ModelFolderError, match="exists already; models are never overwritten"),
        registry.draft(folder),
    ):
        pass
    registry.checked_manifest(folder)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(ModelFolderError, match="model cannot be written: "),
        registry.draft(tmp_path / "file" / "model"),
    ):
        pass


def test_the_hash_of_data_does_not_depend_on_its_order() -> None:
    assert registry.hash_of(CASES) == registry.hash_of(CASES[::-1])
    assert registry.hash_of(CASES) != registry.hash_of(CASES[1:])
