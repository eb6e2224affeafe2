"""From a trained model to a folder that serves it, and back to go on training.

The folder answers the rows that calibrated the model, and is compared with the model run by torch: where int8 costs too
much, float32 takes its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ml import calibration, familiarity, metrics, pieces, registry, served, spans
from ml import encoder as encoders
from ml import model as models
from ml.cache import Cache
from ml.encoder import Encoder
from ml.model import CaseModel
from ml.progress import OnProgress, Progress, ignore
from ml.registry import CENTRES, ENCODER, HEAD_WEIGHTS, HEADS, TOKENIZER, TUNED_WEIGHTS, ModelFolderError
from ml.schema import Kind, Schema
from ml.served import FLOAT32, INT8
from ml.serving import Predictor
from ml.training import TrainedModel
from ml.types import Example, Prediction

MOST_COMPARED = 256  # Held-out rows
MOST_CHECKED = 8  # Of these, with the folder as it will be served
LARGEST_ERROR = 0.001  # Mean absolute difference of probabilities there: the same numbers, added in another order
LARGEST_DROP = 0.01  # Of the main measure of a head
LARGEST_CHANGE = 0.02  # Mean absolute difference of a head's probabilities


def save(
    trained: TrainedModel,
    folder: str | Path,
    *,
    data_hash: str = "",
    exports: Path | None = None,
    progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Write a model folder at once: it is complete, or it is not there.

    Args:
        folder: a path that does not exist yet.
        data_hash: what `registry.hash_of` returned for the examples, so that a model can be traced to its data.
        exports: folder that keeps exported encoders.

    Returns:
        The manifest.

    Raises:
        ModelFolderError: the folder exists already, or cannot be written.
    """
    encoder = trained.encoder
    with registry.draft(folder) as draft:
        save_file(
            {name: value.contiguous() for name, value in trained.network.state_dict().items()}, draft / HEAD_WEIGHTS
        )
        if encoder.tuned:
            state = encoder.network.state_dict()
            save_file({name: state[name].float().contiguous() for name in encoder.tuned}, draft / TUNED_WEIGHTS)
        encoder.splitter.tokenizer.save(str(draft / TOKENIZER))
        export_heads(trained.network, encoder.width, draft / HEADS)
        if trained.familiarity is not None:
            familiarity.save(trained.familiarity, draft / CENTRES)
        keys = trained.network.keys
        compared = _share(trained.held_out, keys)
        texts = [row.text for row in compared]
        expected = predict(trained, texts)
        report: dict[str, Any] = {"n": len(compared)}
        for step, precision in enumerate((INT8, FLOAT32)):
            progress(Progress("export", step, 2))
            ready = trained.served if precision == INT8 else served.export(encoder, FLOAT32, exports=exports)
            answered = predict(trained, texts, encoder=ready)
            found = compare(trained.schema, compared, expected, answered)
            report |= {"precision": precision, precision: found}
            if found.keys() == set(keys) and is_close(found):  # What was not compared may have lost anything
                break
        shutil.copyfile(served.path_of(ready), draft / ENCODER)
        manifest = registry.write_manifest(draft, _manifest(trained, data_hash, report))
        _check(draft, texts[:MOST_CHECKED], answered[:MOST_CHECKED])
    progress(Progress("export", 2, 2))
    return manifest


def restore(folder: str | Path, *, cache: Cache | None = None) -> Encoder:
    """Read back the encoder of a model as it was tuned, to go on training.

    One that learnt from all rows comes as it was before: it knows what the next model would be measured on.

    Raises:
        ModelFolderError: a file is missing or was changed, the encoder that was tuned has other weights here, or the
            model was imported: its encoder is in the form that serves alone.
        encoder.EncoderError: the encoder is not on this machine.
    """
    place = Path(folder)
    manifest = registry.checked_manifest(place)
    if "imported" in manifest:
        raise ModelFolderError(
            f"{place} was imported from a checkpoint; training goes on only from a model trained here"
        )
    reading = manifest["encoder"]
    encoder = encoders.load(reading["name"], cache=cache)
    if encoder.digest != reading["base_sha256"]:
        raise ModelFolderError(f"encoder {encoder.name!r} has other weights than those that {place} was trained on")
    if reading.get("layers"):
        encoder = encoder.with_layers(reading["layers"])
    if TUNED_WEIGHTS not in manifest["files"] or manifest.get("is_of_all_rows"):
        return encoder
    try:
        return encoder.tuned_with(load_file(place / TUNED_WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as exc:
        raise ModelFolderError(f"the weights in {place} do not fit the manifest beside them") from exc


def predict(trained: TrainedModel, texts: Sequence[str], *, encoder: Encoder | None = None) -> list[Prediction]:
    """Answer texts with a trained model as torch runs it, or on what another encoder gives."""
    if not texts:
        return []
    network, schema = trained.network, trained.schema
    logits: dict[str, Any] = {
        head.key: np.zeros((len(texts), len(models.outputs_of(head))))
        for head in network.heads
        if head.kind in models.POOLED
    }
    logits |= {key: [None] * len(texts) for key in network.tagged_keys}
    words: list[Any] = [None] * len(texts)
    for batch in (encoder or trained.encoder).batches(texts):
        firsts, shapes = models.word_inputs([texts[row] for row in batch.rows], batch.pieces)
        with torch.inference_mode():
            scores = network(batch.tokens, batch.mask, firsts, shapes)
        for at, row in enumerate(batch.rows):
            words[row] = batch.pieces[at].words
            for key, values in scores.pooled.items():
                logits[key][row] = values[0, at].double().numpy()
            for key, values in scores.tags.items():
                logits[key][row] = values[at, : len(words[row])].double().numpy()
    return calibration.predictions(schema, logits, trained.calibration, words=words)


def compare(
    schema: Schema, rows: Sequence[Example], expected: Sequence[Prediction], found: Sequence[Prediction]
) -> dict[str, dict[str, float]]:
    """Compare what an export answers with what the model itself does.

    Returns:
        For each head `n`, the labelled rows, `drop`, by how much the main measure fell, and `change`, the mean absolute
        difference of its probabilities, or for spans, which have none, 1 less the F1 of the one's spans in the other's.
    """
    before, after = metrics.evaluate(schema, rows, expected), metrics.evaluate(schema, rows, found)
    main = {key: metrics.main_metric(schema.head(key)) for key in before}
    return {
        key: {
            "n": before[key]["n"],
            "drop": before[key][name] - after[key][name],
            "change": (_moved if schema.head(key).kind == Kind.SPANS else _change)(key, expected, found),
        }
        for key, name in main.items()
    }


def is_close(compared: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether an export is as good as the model.

    No head may fall by more than 0.01, or by one case where there are so few that one weighs more, and its
    probabilities may not change by more than 0.02 on average.
    """
    return all(
        found["drop"] <= max(LARGEST_DROP, 1 / found["n"]) and found["change"] <= LARGEST_CHANGE
        for found in compared.values()
    )


def export_heads(network: CaseModel, width: int, path: Path) -> None:
    """Write the heads as an ONNX graph: tokens, mask, firsts and shapes to scores and attention by head."""
    heads = _Heads(network).eval()
    given = (
        torch.zeros(2, 2 * pieces.ROUND, width),
        torch.ones(2, 2 * pieces.ROUND, dtype=torch.bool),
        torch.zeros(2, 3, dtype=torch.long),
        torch.zeros(2, 3, spans.N_SHAPES),
    )
    names = ["tokens", "mask", "firsts", "shapes"] if network.tagged_keys else ["tokens", "mask"]
    axes: dict[str, dict[int, str]] = {name: {0: "cases", 1: "pieces"} for name in names[:2]}
    axes |= {name: {0: "cases", 1: "words"} for name in names[2:]}
    axes |= {name: {0: "cases"} for name in heads.output_names}
    axes |= {name: {0: "cases", 1: "phrases"} for name in heads.output_names if name.startswith("attention.")}
    axes |= {f"scores.{key}": {0: "cases", 1: "words"} for key in network.tagged_keys}
    served.to_onnx(heads, given[: len(names)], path, names, heads.output_names, axes)


class _Heads(nn.Module):
    """A network of one copy that gives plain tensors, in the order of `output_names`."""

    def __init__(self, network: CaseModel) -> None:
        super().__init__()
        self.network = network
        self.output_names = [
            *(f"scores.{key}" for key in network.pooled_keys),
            *(f"attention.{key}" for key in network.pooled_keys),
            *(f"scores.{key}" for key in network.tagged_keys),
        ]

    def forward(self, *given: Tensor) -> list[Tensor]:
        scores = self.network(*given)
        pooled = [*scores.pooled.values(), *scores.attention.values()]
        return [*(values[0] for values in pooled), *scores.tags.values()]


def _share(rows: Sequence[Example], keys: Sequence[str]) -> list[Example]:
    """Choose 256 rows at most: the next labelled one of each head in turn, so that their order leaves none out."""
    turns = zip_longest(*([at for at, row in enumerate(rows) if key in row.labels] for key in keys))
    order = dict.fromkeys(at for turn in turns for at in turn if at is not None)
    return [rows[at] for at in sorted(islice(order, MOST_COMPARED))]


def _check(folder: Path, texts: Sequence[str], expected: Sequence[Prediction]) -> None:
    """Answer a few texts with a folder that was just written, and compare.

    Raises:
        ModelFolderError: it answers otherwise than the model that it was written from.
    """
    found = Predictor(folder).predict(texts)
    for key in expected[0] if expected else ():
        if (change := _change(key, expected, found)) > LARGEST_ERROR:
            raise ModelFolderError(f"the exported head {key} is off by {change:.4f}; expected at most {LARGEST_ERROR}")


def _change(key: str, expected: Sequence[Prediction], found: Sequence[Prediction]) -> float:
    pairs = [
        (one[key].probabilities or {}, other[key].probabilities or {})
        for one, other in zip(expected, found, strict=True)
    ]
    changes = [abs(one[label] - other[label]) for one, other in pairs for label in one]
    return float(np.mean(changes)) if changes else 0.0


def _moved(key: str, expected: Sequence[Prediction], found: Sequence[Prediction]) -> float:
    one, other = ([metrics.items(prediction[key].answer) for prediction in said] for said in (expected, found))
    return 1 - metrics.micro_f1(one, other)


def _manifest(trained: TrainedModel, data_hash: str, report: Mapping[str, Any]) -> dict[str, Any]:
    schema, encoder = trained.schema, trained.encoder
    return {
        "schema": registry.named(schema),
        "heads": trained.network.keys,
        "config": trained.config.as_json(),
        "epochs": trained.epochs,
        "encoder": {
            "name": encoder.name,
            "base_sha256": encoder.base_digest,
            "sha256": encoder.digest,
            "is_tuned": bool(encoder.tuned),
            "layers": encoder.kept,
            "max_tokens": encoder.splitter.max_tokens,
            "pad": encoder.pad,
            "pooling": "pieces",
            "normalising": "none",
        },
        "export": report,
        "data_sha256": data_hash,
        "teachers": trained.teachers,
        "told_apart": trained.told_apart,
        "is_of_all_rows": trained.is_of_all_rows,
        "counts": trained.counts,
        "faults": trained.faults,
        "metrics": trained.metrics,
        "surrogates": trained.surrogates,
        "least_familiar": trained.familiarity and trained.familiarity.least,
        "calibration": {key: found.as_json() for key, found in trained.calibration.items()},
    }
