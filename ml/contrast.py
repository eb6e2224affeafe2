"""Few labels: the encoder learns to bring texts of one label together and to hold others apart, before heads learn.

Ten examples of a label cannot tell an encoder much; pairs of them can, for there are many more pairs than examples. So
the encoder learns from these, with names and definitions of the labels as examples of their own (Khosla et al. 2020,
Supervised Contrastive Learning; Tunstall et al. 2022, SetFit), and heads are fitted to what it then gives.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml import frozen, tuning
from ml.config import TrainConfig
from ml.encoder import Encoder, mean_of
from ml.progress import OnProgress, Progress
from ml.schema import Head, Kind
from ml.types import Example


def head_to_learn(heads: Sequence[Head], rows: Sequence[Example], config: TrainConfig) -> Head | None:
    """Return the head whose labels are to be told apart: of those that choose one of many, the one of most labels.

    None where there is nothing to gain: a label has enough examples on average, or the texts are so long that it would
    take hours.
    """
    known = [head for head in heads if head.kind == Kind.CHOICE and any(head.key in row.labels for row in rows)]
    if not known:
        return None
    head = max(known, key=lambda head: len(head.keys))
    labelled = [row for row in rows if head.key in row.labels]
    seen = {row.labels[head.key] for row in labelled if isinstance(row.labels[head.key], str)}
    words = sum(len(row.text.split()) for row in labelled) / len(labelled)
    is_few = len(labelled) / max(1, len(seen)) < config.contrast_examples
    return head if len(seen) > 1 and is_few and words <= config.contrast_words else None


def learn(encoder: Encoder, head: Head, rows: Sequence[Example], config: TrainConfig, tell: OnProgress) -> Encoder:
    """Return an encoder that tells the labels of a head apart.

    Args:
        rows: that may be learnt from; those without a label of the head are passed over.

    Raises:
        EncoderError: the encoder is built in a way that cannot be tuned.
    """
    texts, labels = _examples(head, rows)
    by_label: dict[str, list[int]] = defaultdict(list)
    for at, label in enumerate(labels):
        by_label[label].append(at)
    upper = tuning.Upper.above(encoder, len(encoder.layers))
    cut = encoder.splitter.split(texts)
    optimiser = torch.optim.AdamW(upper.weights, lr=config.contrast_rate, weight_decay=config.tune_decay)
    schedule = frozen.schedule(optimiser, config.contrast_steps, config.warm_up)
    with tempfile.TemporaryDirectory(prefix="caseloop-contrast-") as folder:
        states = tuning.below(encoder, upper.depth, cut, Path(folder), tell)
        upper.network.train()
        for step in range(1, config.contrast_steps + 1):
            chosen = _draw(by_label, config)
            windows = encoder.windows([cut[row] for row in chosen])
            tokens = upper.forward(states.batch(chosen, windows.ids.shape[1]), windows).float()
            vectors = functional.normalize(mean_of(tokens, torch.from_numpy(windows.is_real)), dim=1)
            loss = _loss(vectors, [labels[row] for row in chosen], config.contrast_temperature)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(upper.weights, tuning.LARGEST_GRADIENT)
            optimiser.step()
            schedule.step()
            tell(Progress("contrast", step, config.contrast_steps, float(loss.detach())))
    return upper.put_into(encoder)


def _examples(head: Head, rows: Sequence[Example]) -> tuple[list[str], list[str]]:
    """Return texts and the label of each: those of the rows, and what the schema says of the labels itself."""
    found = [(row.text, str(row.labels[head.key])) for row in rows if row.labels.get(head.key) in head.keys]
    found += [(text, label.key) for label in head.labels for text in (label.name, label.definition)]
    return [text for text, _ in found], [label for _, label in found]


def _draw(by_label: dict[str, list[int]], config: TrainConfig) -> list[int]:
    """Draw some labels, and a few texts of each."""
    labels = list(by_label)
    found = []
    for at in torch.randperm(len(labels))[: config.contrast_labels].tolist():
        rows = by_label[labels[at]]
        found += [rows[place] for place in torch.randperm(len(rows))[: config.contrast_texts].tolist()]
    return found


def _loss(vectors: Tensor, labels: Sequence[str], temperature: float) -> Tensor:
    """Return how unlike the texts of one label are, beside those of others, in nats: vectors (B, W) of length 1.

    Source: Khosla et al. (2020), equation 2.
    """
    own = torch.eye(len(vectors), dtype=torch.bool)
    likeness = (vectors @ vectors.T / temperature).masked_fill(own, -torch.inf)
    log_share = (likeness - likeness.logsumexp(dim=1, keepdim=True)).masked_fill(own, 0.0)
    numbers = torch.tensor([labels.index(label) for label in labels])
    are_alike = (numbers[:, None] == numbers[None]) & ~own
    return -((log_share * are_alike).sum(dim=1) / are_alike.sum(dim=1).clamp(min=1)).mean()
