"""From a published four-head helpline classifier to a model folder that serves it.

Such a checkpoint is a DistilBERT whose first vector goes through one layer, and from there to four classifiers:

    windows ──► DistilBERT ──► first vectors ──► pre_classifier, ReLU ──► classifier_* ──► mean of the windows' logits

It was trained on texts that are cut at 256 word pieces. A text within them is answered just as it was there; a
longer one is read in windows of that length, and nothing of it is lost. What its classes mean, `ml.classes` says.

Sizes: B cases of a batch, V windows of the longest, W the encoder's width, K classes of a classifier, C outputs of a
head: the labels of the schema or, for `choices`, the sets of labels that classes stand for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.models import WordPiece
from torch import Tensor, nn

from ml import calibration, classes, export, metrics, pieces, registry, served
from ml import encoder as encoders
from ml.calibration import HeadCalibration
from ml.classes import PARTS, CheckpointError, Meaning
from ml.encoder import Encoder
from ml.pieces import Splitter
from ml.progress import OnProgress, ignore
from ml.registry import ENCODER, HEADS, TOKENIZER
from ml.schema import Kind, Schema
from ml.served import FLOAT32, INT8
from ml.serving import Predictor
from ml.types import Example

if TYPE_CHECKING:
    from transformers import DistilBertConfig

MOST_TOKENS = 256  # Word pieces at which the published texts were cut, in training and in use
MOST_SHOWN = 20  # Faults that one message lists
FAR = 1e4  # Log-odds against what a class does not mean: beyond every temperature, and finite
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"
SIZES = ("vocab_size", "max_position_embeddings", "n_layers", "n_heads", "dim", "hidden_dim")
ACTIVATIONS = ("gelu", "relu")
NO_PARAMETER = "distilbert.embeddings.position_ids"  # What older releases of transformers saved beside the parameters


class CheckpointHeads(nn.Module):
    """The layers above DistilBERT, and what their classes mean in the schema."""

    def __init__(self, before: nn.Module, classifiers: Sequence[nn.Module], means: Sequence[Tensor]) -> None:
        """Take the layers, and for each classifier which class means which output, (C, K)."""
        super().__init__()
        self.before = before
        self.classifiers = nn.ModuleList(classifiers)
        self.against = [torch.where(is_meant, 0.0, -FAR) for is_meant in means]

    def forward(self, tokens: Tensor, mask: Tensor) -> list[Tensor]:
        """Score cases: the first vector of each window (B, V, W) and which are real (B, V) to (B, C) for each head."""
        hidden = self.before(tokens).relu()  # (B, V, W)
        is_real = mask[:, :, None].to(hidden.dtype)
        # The classifiers are linear, so that the logits of this mean are the mean of the windows' logits
        mean = (hidden * is_real).sum(dim=1) / is_real.sum(dim=1)
        return [
            (classifier(mean)[:, None] + against).logsumexp(dim=2)  # (B, C, K) to (B, C)
            for classifier, against in zip(self.classifiers, self.against, strict=True)
        ]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: the schema that it answers, and by head what each of its classes means."""

    name: str
    schema: Schema
    encoder: Encoder
    layers: nn.ModuleDict
    meanings: Mapping[str, Sequence[Meaning]]

    def outputs(self, key: str) -> tuple[Meaning, ...]:
        """Return what the outputs of a head stand for, (C,)."""
        head = self.schema.head(key)
        found: Sequence[Meaning] = head.keys if head.kind == Kind.CHOICE else self.meanings[key]
        return tuple(dict.fromkeys(found))

    @property
    def sets(self) -> dict[str, list[Sequence[str]]]:
        """The sets of labels, by `choices` head, of which the checkpoint always chooses one."""
        heads = [head.key for head in self.schema.of_kind(Kind.CHOICES) if head.key in self.meanings]
        return {key: [tuple(meaning) for meaning in self.outputs(key)] for key in heads}

    @property
    def unknown_labels(self) -> dict[str, list[str]]:
        """The labels of the schema, by head, that no class means, and that are therefore never answered."""
        found = {key: classes.meant(meanings) for key, meanings in self.meanings.items()}
        lacking = {key: [label for label in self.schema.head(key).keys if label not in found[key]] for key in found}
        return {key: labels for key, labels in lacking.items() if labels}

    def heads(self) -> CheckpointHeads:
        """Return the layers above the encoder."""
        means = [
            torch.tensor([[meaning == output for meaning in self.meanings[part.head]] for output in outputs])
            for part in PARTS
            for outputs in [self.outputs(part.head)]
        ]
        return CheckpointHeads(self.layers["pre_classifier"], [self.layers[part.layer] for part in PARTS], means).eval()


def read(folder: str | Path, schema: Schema | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        folder: weights, config.json, a tokenizer and four files of names.
        schema: what the names are labels of; without one, a schema is made from the names.

    Raises:
        CheckpointError: a file is missing or not as expected, or a name is no label of the schema.
    """
    place = Path(folder)
    title = place.resolve().name or "checkpoint"
    names = {part.head: classes.read_names(place / part.file) for part in PARTS}
    schema = schema or classes.schema_of(names, title)
    meanings = classes.meanings(schema, names)
    config = _config(place / "config.json")
    layers = _layers(place, config, {part.layer: len(names[part.head]) for part in PARTS})
    digest = encoders.digest_of(layers["distilbert"])
    encoder = Encoder(
        name=title,
        digest=digest,
        base_digest=digest,
        network=layers["distilbert"],
        splitter=Splitter(_tokenizer(place, config), min(MOST_TOKENS, config.max_position_embeddings)),
        width=config.dim,
        pad=0,  # Masked, so that any piece would do
        dtype=torch.float32,
    )
    return Checkpoint(title, schema, encoder, layers, meanings)


def save(
    found: Checkpoint,
    folder: str | Path,
    *,
    rows: Sequence[Example] = (),
    rows_from: str = "",
    progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Write a model folder at once: it is complete, or it is not there.

    Args:
        folder: a path that does not exist yet.
        rows: labelled examples, on which the model is calibrated and measured, and int8 is compared with float32.
            Without them the model is served in float32 and its probabilities are as they were.
        rows_from: the name of their file, for the manifest.

    Returns:
        The manifest.

    Raises:
        CheckpointError: no row is labelled for a head that the checkpoint answers.
        registry.ModelFolderError: the folder exists already, or cannot be written.
    """
    counts = {part.head: sum(part.head in row.labels for row in rows) for part in PARTS}
    if rows and not any(counts.values()):
        raise CheckpointError(f"no row of {rows_from or 'the data'} has a label for one of {', '.join(counts)}")
    with registry.draft(folder) as draft:
        found.encoder.splitter.tokenizer.save(str(draft / TOKENIZER))
        _export_heads(found, draft / HEADS)
        manifest = _begin(found)
        if rows:
            manifest["export"], scores = _choose(found, draft, rows, progress)
            learnt = calibration.fit(found.schema, scores, [row.labels for row in rows], sets=found.sets)
            said = calibration.predictions(found.schema, scores, learnt)
            manifest["calibration"] = {key: head.as_json() for key, head in learnt.items()}
            manifest["metrics"] = metrics.evaluate(found.schema, rows, said)
            manifest["counts"] = {"calibrate": counts}
            manifest["data_sha256"] = registry.hash_of(rows)
            manifest["imported"]["calibrated_and_measured_on"] = rows_from  # The same rows, which flatters the metrics
        if manifest["export"]["precision"] == FLOAT32:
            served.write(found.encoder, FLOAT32, draft / ENCODER)
        return registry.write_manifest(draft, manifest)


def _choose(
    found: Checkpoint, draft: Path, rows: Sequence[Example], progress: OnProgress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare int8, which is written last, with float32: the report, and the scores in the precision that is served.

    A head that no row is labelled for cannot be compared, and then float32 is served.
    """
    scores = {}
    for precision in (FLOAT32, INT8):
        served.write(found.encoder, precision, draft / ENCODER)
        registry.write_manifest(draft, _begin(found))
        scores[precision] = Predictor(draft).logits([row.text for row in rows], progress=progress)
    learnt = calibration.fit(found.schema, scores[FLOAT32], [row.labels for row in rows], sets=found.sets)
    exact, rough = (calibration.predictions(found.schema, scores[precision], learnt) for precision in (FLOAT32, INT8))
    compared = export.compare(found.schema, rows, exact, rough)
    is_close = compared.keys() == found.meanings.keys() and export.is_close(compared)
    precision = INT8 if is_close else FLOAT32
    return {"precision": precision, "n": len(rows), INT8: compared}, scores[precision]


def _begin(found: Checkpoint) -> dict[str, Any]:
    """Return the manifest of a checkpoint as it is, before anything was learnt or measured."""
    schema, encoder = found.schema, found.encoder
    keys = [head.key for head in schema.heads if head.key in found.meanings]
    return {
        "schema": registry.named(schema),
        "heads": keys,
        "imported": {"checkpoint": found.name, "labels_never_answered": found.unknown_labels},
        "encoder": {
            "name": encoder.name,
            "base_sha256": encoder.base_digest,
            "sha256": encoder.digest,
            "is_tuned": False,
            "max_tokens": encoder.splitter.max_tokens,
            "pad": encoder.pad,
            "pooling": "first",
            "normalising": "plain",
        },
        "export": {"precision": FLOAT32, "n": 0},
        "data_sha256": "",
        "counts": {},
        "metrics": {},
        "calibration": {key: HeadCalibration(sets=found.sets.get(key, ())).as_json() for key in keys},
    }


def _export_heads(found: Checkpoint, path: Path) -> None:
    given = torch.zeros(2, pieces.ROUND, found.encoder.width), torch.ones(2, pieces.ROUND, dtype=torch.bool)
    names = [f"scores.{part.head}" for part in PARTS]
    axes: dict[str, dict[int, str]] = {name: {0: "cases", 1: "windows"} for name in ("tokens", "mask")}
    axes |= {name: {0: "cases"} for name in names}
    served.to_onnx(found.heads(), given, path, ["tokens", "mask"], names, axes)


def _config(path: Path) -> DistilBertConfig:
    """Read the sizes of the network, and nothing else that a configuration could ask transformers to do."""
    from transformers import DistilBertConfig  # noqa: PLC0415 - takes seconds, and the names have errors to tell

    found = classes.read_json(path)
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(found, dict) or kind != "distilbert":
        raise CheckpointError(f"{path} has model_type {kind!r}; expected 'distilbert'")
    usual = DistilBertConfig()
    sizes = {name: found.get(name, getattr(usual, name)) for name in SIZES}
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise CheckpointError(f"{path} has {name} {value!r}; expected a whole number from 1")
    if sizes["dim"] % sizes["n_heads"]:
        raise CheckpointError(f"{path} has dim {sizes['dim']}, which {sizes['n_heads']} n_heads do not divide")
    activation = found.get("activation", usual.activation)
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"{path} has activation {activation!r}; expected {' or '.join(ACTIVATIONS)}")
    return DistilBertConfig(**sizes, activation=activation)


def _layers(place: Path, config: DistilBertConfig, counts: Mapping[str, int]) -> nn.ModuleDict:
    """Build the network and load the weights, of which every name and shape must be as expected."""
    path, weights = _weights(place)
    with torch.device("meta"):  # Shapes only: a wrong configuration asks for any amount of memory
        expected = {name: value.shape for name, value in _untrained(config, counts).state_dict().items()}
    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{name} is not expected" for name in weights if name not in expected]
    files = {part.layer: part.file for part in PARTS}
    for name, shape in expected.items():
        if name in weights and weights[name].shape != shape:
            reason = files.get(name.split(".")[0], "config.json")
            faults.append(f"{name} is {_size(weights[name].shape)}; expected {_size(shape)}, from {reason}")
    if faults:
        more = [f"and {len(faults) - MOST_SHOWN} more"] if len(faults) > MOST_SHOWN else []
        raise CheckpointError("\n".join([f"{path} has other parameters:", *faults[:MOST_SHOWN], *more]))
    layers = _untrained(config, counts)
    layers.load_state_dict(weights)
    return layers.eval()


def _untrained(config: DistilBertConfig, counts: Mapping[str, int]) -> nn.ModuleDict:
    """Build the network; its parameters have the names that the checkpoint gives them."""
    from transformers import DistilBertModel  # noqa: PLC0415 - takes seconds, and the names have errors to tell

    layers: dict[str, nn.Module] = {"distilbert": DistilBertModel(config)}
    layers["pre_classifier"] = nn.Linear(config.dim, config.dim)
    return nn.ModuleDict(layers | {name: nn.Linear(config.dim, count) for name, count in counts.items()})


def _weights(place: Path) -> tuple[Path, dict[str, Tensor]]:
    path = next((place / name for name in (WEIGHTS, PICKLED) if (place / name).exists()), None)
    if path is None:
        raise CheckpointError(f"{place} has no {WEIGHTS}, nor a {PICKLED}")
    try:
        # Either way, tensors alone are read: nothing in the file is run
        found = load_file(path) if path.name == WEIGHTS else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # What a damaged or malicious file raises has no class in common
        raise CheckpointError(f"{path} is not a file of weights alone ({type(exc).__name__})") from exc
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} is not a table of parameters by name")
    return path, {str(name): value for name, value in found.items() if name != NO_PARAMETER}


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _tokenizer(place: Path, config: DistilBertConfig) -> Tokenizer:
    whole, vocabulary = place / "tokenizer.json", place / "vocab.txt"
    path = whole if whole.exists() else vocabulary
    if not path.exists():
        raise CheckpointError(f"{place} has no {whole.name}, nor a {vocabulary.name}")
    try:
        if path == whole:
            tokenizer = Tokenizer.from_file(str(path))
        else:
            bert = BertWordPieceTokenizer(WordPiece.read_file(str(path)))
            tokenizer = Tokenizer.from_str(bert.to_str())
    except Exception as exc:  # The library's own errors have no class in common
        raise CheckpointError(f"{path} is not a tokenizer ({type(exc).__name__})") from exc
    if (most := max(tokenizer.get_vocab().values(), default=0)) >= config.vocab_size:
        raise CheckpointError(f"{path} has a word piece {most}; vocab_size is {config.vocab_size}")
    if tokenizer.encode("a").special_tokens_mask[:1] != [1]:
        raise CheckpointError(f"{path} puts no special piece before a text; expected [CLS], which answers")
    return tokenizer
