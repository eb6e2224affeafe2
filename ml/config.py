"""What changes the result of a training, besides data and encoder. Standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PROFILES = ("fast", "full")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Saved with the model; the same configuration, data and encoder give the same model.

    `fast` trains the heads on the frozen encoder in seconds. `full` tunes the encoder as well, which takes minutes to
    hours: its upper layers with the heads or, where labels are few and texts short, all layers by pairs of texts.
    """

    profile: str = "fast"
    seed: int = 0

    # The heads, on the frozen encoder
    folds: int = 4  # Parts of the rows that copies of the heads leave out in turn
    epochs: int = 8
    passes: int = 5  # Over the rows in an epoch; heads of spans, which see far more words than there are rows, make one
    patience: int = 3  # Epochs in which no head gets better on held-out rows, after which training stops
    batch_size: int = 64
    span_batch_size: int = 16
    learning_rate: float = 0.003
    span_learning_rate: float = 0.005
    warm_up: float = 0.1  # Share of the steps; after it the rate falls to 0 in a straight line
    penalty: float | None = None  # On the squared weights of the output layers; None: each head's is chosen
    query_penalty: float = 1.0  # On the squared attention queries: looking at few words overfits first
    evidence_penalty: float = 0.02  # On the squared weights of heads that look for and against; little either way
    balance: float = 0.5  # How rows of rare labels count while learning: 0 every row alike, 1 every label
    heaviest: float = 5.0  # Most that a row of a rare label counts

    # What models that are trained already say, where there are any
    teacher_share: float = 0.5  # Of the loss
    teacher_temperature: float = 2.0  # That softens their probabilities

    # A smaller encoder
    layers: int | None = None  # That are left of the encoder's; None: all
    match_epochs: int = 6  # Over the texts, in which the layers that are left learn to stand for all
    match_rate: float = 5e-4

    # Few labels, in the full profile: the encoder learns to tell those of one head apart
    contrast_examples: int = 20  # Of a label on average, below which labels are few
    contrast_words: int = 64  # Of a text on average, up to which it is worth its time
    contrast_steps: int = 150
    contrast_labels: int = 32  # In a step
    contrast_texts: int = 4  # Of each of these
    contrast_rate: float = 5e-5
    contrast_temperature: float = 0.1

    # The encoder's upper layers, in the full profile
    validation_share: float = 0.15  # Of the rows, where none are given for validation
    tune_layers: int = 3  # Counted from above; the outputs of those below are computed once
    tune_epochs: int = 6
    tune_patience: int = 2
    tune_batch_size: int = 16
    tune_rate: float = 2e-4  # Of the encoder
    tune_head_rate: float = 2e-3
    tune_decay: float = 0.01  # Weight decay of the encoder

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"profile is {self.profile!r}; expected one of {', '.join(PROFILES)}")

    def as_json(self) -> dict[str, Any]:
        """Return the form that files hold; `TrainConfig(**found)` reads it back."""
        return asdict(self)
