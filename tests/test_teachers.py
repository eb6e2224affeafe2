"""Learning from models that are trained already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from ml import export, registry, schema, targets, training
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.schema import Kind
from ml.serving import Predictor
from ml.teachers import Lesson, TeacherError, Teachers
from tests import tiny

SCHEMA = tiny.toy_schema()
ROWS = tiny.cases(40, seed=3)
TEXTS = [row.text for row in ROWS]


@pytest.fixture(scope="module")
def single(tiny_encoder: Encoder, tiny_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A model folder of one head alone."""

    def make(key: str) -> str:
        rows = [replace(row, labels={key: row.labels[key]}) for row in tiny.cases(200)]
        trained = training.train(rows, SCHEMA, tiny.QUICK, encoder=tiny_encoder, exports=tiny_exports)
        folder = tmp_path_factory.mktemp("teachers") / key
        export.save(trained, folder)
        return str(folder)

    return make


def lesson(kind: Kind, logits: Any, *, temperature: float = 2.0, share: float = 0.5) -> Lesson:
    return Lesson(kind, logits, temperature, share)


def taught(tiny_encoder: Encoder, tiny_exports: Path, rows: Any, teachers: Teachers | None, **config: Any) -> Any:
    config = replace(tiny.QUICK, **config)
    return training.train(rows, SCHEMA, config, encoder=tiny_encoder, exports=tiny_exports, teachers=teachers)


def test_a_choice_is_taught_by_the_divergence_of_softened_probabilities() -> None:
    wanted, scores = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[[0.5, 0.5, 1.0]]])
    right, said = (wanted / 2).softmax(-1), (scores[0] / 2).softmax(-1)
    expected = 4 * (right * (right / said).log()).sum()
    found = lesson(Kind.CHOICE, wanted).losses(scores, torch.tensor([0]))
    torch.testing.assert_close(found, expected.view(1, 1))


@pytest.mark.parametrize("kind", [Kind.CHOICES, Kind.RUBRIC])
def test_labels_that_stand_by_themselves_are_taught_one_by_one(kind: Kind) -> None:
    wanted, scores = torch.tensor([[2.0, -1.0]]), torch.tensor([[[0.5, 0.0]]])
    right, said = (wanted / 2).sigmoid(), (scores[0] / 2).sigmoid()
    apart = functional.binary_cross_entropy(said, right, reduction="sum")
    own = functional.binary_cross_entropy(right, right, reduction="sum")
    found = lesson(kind, wanted).losses(scores, torch.tensor([0]))
    torch.testing.assert_close(found, (4 * (apart - own)).view(1, 1))


def test_who_says_what_the_teachers_say_has_nothing_to_learn() -> None:
    wanted = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    for kind in (Kind.CHOICE, Kind.CHOICES):
        found = lesson(kind, wanted).losses(wanted[None], torch.tensor([0, 1]))
        torch.testing.assert_close(found, torch.zeros(1, 2), atol=1e-6, rtol=0)
    words = lesson(Kind.SPANS, [wanted, None])
    assert float(words.loss_of_words(wanted[None], [0], torch.tensor([True, True]))) == pytest.approx(0, abs=1e-6)


def test_words_are_taught_where_the_teachers_cut_the_same_and_the_row_may_be_learnt_from() -> None:
    wanted = torch.tensor([[2.0, 0.0, -1.0]])
    words, scores = lesson(Kind.SPANS, [wanted, None, wanted]), torch.zeros(3, 4, 3)
    assert words.rows.tolist() == [True, False, True]
    both = words.loss_of_words(scores, [0, 1, 2], torch.tensor([True, True, True]))
    one = words.loss_of_words(scores, [0, 1, 2], torch.tensor([True, True, False]))
    assert float(both) == pytest.approx(2 * float(one))
    assert float(one) > 0


def test_labels_and_teachers_share_the_loss_and_rows_without_labels_are_taught_too() -> None:
    rows = [replace(ROWS[0], labels={"place": "sea"}), replace(ROWS[1], labels={})]
    found = lesson(Kind.CHOICE, torch.tensor([[3.0, 0.0], [0.0, 3.0]]), share=0.25)
    target = targets.read(SCHEMA, ["place"], rows, {"place": found})[0]
    learns, scores, at = torch.tensor([[True, True], [False, True]]), torch.zeros(2, 2, 2), torch.arange(2)
    weights = target.weights(learns, balance=0.5, heaviest=5.0)
    assert weights.tolist() == [[1.0, 0.0], [0.0, 0.0]], "teachers know what is rare"
    assert target.rarity(learns, balance=0.5, heaviest=5.0).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    lost, taught = target.lost(scores, at, weights, learns), found.losses(scores, at)
    assert float(lost[0, 0]) == pytest.approx(0.75 * 0.6931 + 0.25 * float(taught[0, 0]), abs=1e-3)
    assert float(lost[0, 1]) == pytest.approx(0.25 * float(taught[0, 1]))
    assert lost[1].tolist() == [0.0, pytest.approx(0.25 * float(taught[1, 1]))]
    assert target.teaches.tolist() == [True, True]
    assert target.rows.tolist() == [True, False]
    assert target.of([1]).lesson.logits.tolist() == [[0.0, 3.0]]


def test_teachers_of_one_head_each_make_a_student_of_all(
    single: Callable[..., str], tiny_encoder: Encoder, tiny_exports: Path, tmp_path: Path
) -> None:
    folders = [single(key) for key in ("place", "mood", "names", "manner")]
    # Eight labels of each head, none of them beside another's, and 160 cases that nobody labelled
    few = tiny.cases(192, seed=5)
    keys = ["place", "mood", "names", "manner"]
    rows = [
        replace(row, labels={keys[at // 8]: row.labels[keys[at // 8]]} if at < 32 else {}) for at, row in enumerate(few)
    ]
    alone = taught(tiny_encoder, tiny_exports, rows, None)
    student = taught(tiny_encoder, tiny_exports, rows, Teachers(folders), teacher_share=0.9)
    unseen = tiny.cases(150, seed=6)
    found = [
        training.metrics.evaluate(SCHEMA, unseen, export.predict(one, [row.text for row in unseen]))
        for one in (alone, student)
    ]
    for key in keys:
        without, with_teachers = (one[key].get("accuracy", one[key].get("micro_f1")) for one in found)
        assert with_teachers >= without, key
    assert found[1]["names"]["micro_f1"] > found[0]["names"]["micro_f1"] + 0.2
    manifest = export.save(student, tmp_path / "student")
    assert manifest["teachers"] == [registry.manifest_hash(folder) for folder in folders]


def test_several_teachers_of_a_head_are_averaged_and_the_order_of_labels_is_the_schemas(
    tiny_folder: Path, single: Callable[..., str]
) -> None:
    turned = schema.parse(tiny.SCHEMA.replace(SEA, "").replace(LAND, LAND + SEA))
    head = turned.head("place")
    assert list(head.keys) == ["land", "sea"]
    both = [str(tiny_folder), single("place")]
    found = Teachers(both).teach([head], TEXTS, [1] * len(TEXTS), TrainConfig())["place"]
    each = [torch.from_numpy(Predictor(folder).logits(TEXTS)["place"]).float() for folder in both]
    torch.testing.assert_close(found.logits, (each[0] + each[1])[:, [1, 0]] / 2)


def test_words_that_a_teacher_cuts_otherwise_are_not_taught(tiny_folder: Path) -> None:
    head = SCHEMA.head("names")
    words = [len(found) for found in Predictor(tiny_folder).logits(TEXTS)["names"]]
    found = Teachers([tiny_folder]).teach([head], TEXTS, [words[0] + 1, *words[1:]], TrainConfig())["names"]
    assert found.rows.tolist() == [False] + [True] * (len(TEXTS) - 1)


def test_a_teacher_of_other_labels_or_of_no_head_is_refused(tiny_folder: Path) -> None:
    teachers = Teachers([tiny_folder])
    other = schema.parse(tiny.SCHEMA.replace(LOUD, LOUD + LOUD.replace("loud", "glad").replace("Loud", "Glad")))
    with pytest.raises(
        TeacherError, match=r"a teacher of mood has other labels than the schema \(glad\); expected the"
    ):
        teachers.check(other.heads)
    with pytest.raises(TeacherError, match="knows the heads place, thing, mood, names, manner; expected at least one"):
        teachers.check([])


SEA = '  { key = "sea", name = "Sea", definition = "ship wave", aliases = ["Ocean"] },\n'
LAND = '  { key = "land", name = "Land", definition = "hill road" },\n'
LOUD = '  { key = "loud", name = "Loud", definition = "loud" },\n'
