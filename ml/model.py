"""The model: one encoder for all heads, and for each head an attention pooling, an output layer and its label texts.

    word pieces ──► phrases ──► attention pooling ──► output layer ──┐
         │             │                                             ├──► scores of the labels
         │             └──────► likeness to the label texts ► trust ─┘
         └──► words, with their shapes and neighbours ──► output layer ──► scores of the tags, for heads of spans

A label's own name and definition say much about which cases are meant, most of all where few cases are labelled, so
scores begin as the likeness between the case and these texts, and the output layer learns what they leave out.

Attention is over phrases, means of a few word pieces: a quarter as many as word pieces, so that caching and training
take a quarter, and what a single word piece says in its context its phrase says too.

Sizes: B cases of a batch, T word pieces, V phrases, N words, W the encoder's width, C outputs of a head (its labels;
two for each criterion of a rubric), L the kinds of likeness, K copies of the heads that learn side by side, each from
other rows. A saved model has one copy, and heads of spans never have more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml import spans
from ml.encoder import Encoder, mean_of
from ml.pieces import STEP, Pieces
from ml.schema import Head, Kind, Schema
from ml.spans import N_SHAPES

LIKENESSES = 4  # Of the whole text and of its nearest phrase, to a label's name and to its definition
FLATTEST = 0.01  # Smallest spread that is divided by: a likeness of few rows may hardly vary
SHARPNESS = 3.0  # How much more a phrase is looked at that says one nat more for an output, or against it
TAGGER_WIDTH = 256
POOLED = (Kind.CHOICE, Kind.CHOICES, Kind.RUBRIC)


class CaseHead(nn.Module):
    """One head that answers a case as a whole: what its label texts say of it, and how far to trust them."""

    label_texts: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, width: int, n_outputs: int, *, copies: int = 1) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(copies, n_outputs))
        self.trust = nn.Parameter(torch.full((copies, LIKENESSES), 1.0 / LIKENESSES))
        self.register_buffer("label_texts", torch.zeros(2, n_outputs, width))  # Of length 1: names, then definitions
        self.register_buffer("centre", torch.zeros(LIKENESSES, n_outputs))
        self.register_buffer("spread", torch.ones(LIKENESSES, n_outputs))

    def likeness(self, whole: Tensor, phrases: Tensor, is_real: Tensor) -> Tensor:
        """Compare cases with the label texts, as cosines: (B, L, C).

        Args:
            whole: mean of each text, (B, W), of length 1.
            phrases: (B, V, W), of length 1.
            is_real: (B, V).
        """
        by_phrase = torch.einsum("bvw,scw->bvsc", phrases, self.label_texts)
        nearest = by_phrase.masked_fill(~is_real[:, :, None, None], -1.0).amax(dim=1)  # (B, 2, C)
        return torch.cat([torch.einsum("bw,scw->bsc", whole, self.label_texts), nearest], dim=1)

    def standardise(self, likeness: Tensor) -> None:
        """Learn from the likeness of many cases, (n, L, C), what is usual for each label."""
        self.centre.copy_(likeness.mean(dim=0))
        self.spread.copy_(likeness.std(dim=0, correction=0).clamp(min=FLATTEST))

    def standard(self, likeness: Tensor) -> Tensor:
        """Put likeness, (n, L, C), on the scale of what is usual for each label."""
        return (likeness - self.centre) / self.spread

    def expected(self, likeness: Tensor) -> Tensor:
        """Score the outputs before anything of the text itself is learnt: (B, L, C) to (K, B, C)."""
        return self.bias[:, None] + torch.einsum("blc,kl->kbc", self.standard(likeness), self.trust)


class PooledHead(CaseHead):
    """A head that looks at a text once, and tells its labels by all that it saw.

    The attention starts level, as the mean of the text, and the output layer at zero.
    """

    def __init__(self, width: int, n_outputs: int, *, copies: int = 1) -> None:
        super().__init__(width, n_outputs, copies=copies)
        self.query = nn.Parameter(torch.zeros(copies, width))
        self.weight = nn.Parameter(torch.zeros(copies, width, n_outputs))

    def forward(self, pooled: Tensor, likeness: Tensor) -> Tensor:
        """Score the outputs: pooled (K, B, W), likeness (B, L, C) to (K, B, C)."""
        return torch.einsum("kbw,kwc->kbc", pooled, self.weight) + self.expected(likeness)


class EvidenceHead(CaseHead):
    """A head that looks twice for each output: for the words that speak for it most, and for those against it.

    What a criterion asks for is said in one sentence of a long call, which the mean of what one look saw would drown.
    Each look goes where it finds most: the vector that says where to look also says what is found there.
    """

    def __init__(self, width: int, n_outputs: int, *, copies: int = 1) -> None:
        super().__init__(width, n_outputs, copies=copies)
        self.evidence = nn.Parameter(torch.zeros(copies, 2, width, n_outputs))  # For, then against

    def forward(
        self, phrases: Tensor, is_real: Tensor, usual: tuple[Tensor, Tensor], likeness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score the outputs: phrases (B, V, W), likeness (B, L, C) to (K, B, C), and the attention, (K, B, V).

        Args:
            usual: centre and spread, (W,) each, that put phrases on the scale on which they are judged.
        """
        centre, spread = usual
        looks = (self.evidence / spread[:, None]).permute(2, 0, 1, 3)  # (W, K, 2, C)
        found = (phrases @ looks.flatten(1).to(phrases.dtype)).float() - centre @ looks.flatten(1)
        attention = (SHARPNESS * found).masked_fill(~is_real[:, :, None], -torch.inf).softmax(dim=1)
        copies, twice, n_outputs = looks.shape[1:]
        best = (attention * found).sum(dim=1).view(-1, copies, twice, n_outputs).transpose(0, 1)  # (K, B, 2, C)
        looked = attention.view(*attention.shape[:2], copies, -1).mean(dim=3).permute(2, 0, 1)
        return best[:, :, 0] - best[:, :, 1] + self.expected(likeness), looked


class SpanHead(nn.Module):
    """One head that tags words, from their vectors, their shapes and those of their two neighbours.

    The packaged encoder reads everything in lower case, so that a name is known from a word only by its shape.
    """

    def __init__(self, width: int, n_labels: int) -> None:
        super().__init__()
        self.around = nn.Linear(width + N_SHAPES, 3 * TAGGER_WIDTH, bias=False)
        self.bias = nn.Parameter(torch.zeros(TAGGER_WIDTH))
        self.output = nn.Linear(TAGGER_WIDTH, 1 + 2 * n_labels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, words: Tensor, shapes: Tensor) -> Tensor:
        """Score the tags of `ml.spans`: words (B, N, W), shapes (B, N, S) to (B, N, 1 + 2 C)."""
        is_word = shapes.amax(dim=2, keepdim=True) > 0  # Every word has a shape; where a text has ended there is none
        known = torch.cat([words * is_word, shapes.to(words.dtype)], dim=2)
        before, own, after = self.around(known).chunk(3, dim=2)
        nothing = torch.zeros_like(own[:, :1])
        hidden = own + torch.cat([nothing, before[:, :-1]], dim=1) + torch.cat([after[:, 1:], nothing], dim=1)
        scores: Tensor = self.output(self.dropout((hidden + self.bias).relu()))
        return scores


@dataclass(frozen=True, slots=True)
class Scores:
    """What the heads say of a batch.

    pooled: (K, B, C) for each head that answers a case as a whole.
    attention: how much each of them looked at each phrase, (K, B, V), rows that sum to 1.
    tags: (B, N, 1 + 2 C) for each head of spans.
    """

    pooled: dict[str, Tensor]
    attention: dict[str, Tensor]
    tags: dict[str, Tensor]


class CaseModel(nn.Module):
    """The heads of a schema that learn, on top of an encoder's output."""

    centre: Tensor
    spread: Tensor

    def __init__(self, heads: Sequence[Head], width: int, *, copies: int = 1) -> None:
        super().__init__()
        self.heads = tuple(heads)
        pooled = [head for head in heads if head.kind in POOLED]
        tagged = [head for head in heads if head.kind == Kind.SPANS]
        self.pooled_keys = [head.key for head in pooled]
        self.tagged_keys = [head.key for head in tagged]
        self.pooled = nn.ModuleList(
            (EvidenceHead if head.kind == Kind.RUBRIC else PooledHead)(width, len(outputs_of(head)), copies=copies)
            for head in pooled
        )
        self.taggers = nn.ModuleList(SpanHead(width, len(head.labels)) for head in tagged)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    @property
    def keys(self) -> list[str]:
        """The heads, in schema order."""
        return [head.key for head in self.heads]

    def head(self, key: str) -> CaseHead:
        """Return the layers of one head that answers a case as a whole."""
        found = self.pooled[self.pooled_keys.index(key)]
        assert isinstance(found, CaseHead)  # noqa: S101 - ModuleList forgets the type
        return found

    def likeness(self, whole: Tensor, phrases: Tensor, is_real: Tensor) -> dict[str, Tensor]:
        """Compare a batch with the label texts of each head: (B, W), (B, V, W) and (B, V) to (B, L, C)."""
        whole = functional.normalize(whole.float(), dim=1)
        phrases = functional.normalize(phrases.float(), dim=2)
        return {key: self.head(key).likeness(whole, phrases, is_real) for key in self.pooled_keys}

    def answer(
        self, phrases: Tensor, is_real: Tensor, likeness: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Answer cases as a whole: phrases (B, V, W), is_real (B, V) to scores (K, B, C) and attention (K, B, V)."""
        found = {key: self.head(key) for key in self.pooled_keys}
        said = self._answer_by_one_look(
            {key: head for key, head in found.items() if isinstance(head, PooledHead)}, phrases, is_real, likeness
        )
        for key, head in found.items():
            if isinstance(head, EvidenceHead):
                said[key] = head(phrases, is_real, (self.centre, self.spread), likeness[key])
        return {key: said[key][0] for key in found}, {key: said[key][1] for key in found}

    def _answer_by_one_look(
        self, heads: Mapping[str, PooledHead], phrases: Tensor, is_real: Tensor, likeness: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Let all heads that look once do so together; scores and attention of each."""
        if not heads:
            return {}
        queries = torch.stack([head.query for head in heads.values()])  # (H heads, K, W)
        looks = queries.flatten(0, 1).to(phrases.dtype) @ phrases.transpose(1, 2)  # (B, H K, V)
        attention = looks.float().masked_fill(~is_real[:, None], -torch.inf).softmax(dim=-1)
        pooled = ((attention.to(phrases.dtype) @ phrases).float() - self.centre) / self.spread  # (B, H K, W)
        parts = zip(
            *(torch.split(found.transpose(0, 1), queries.shape[1]) for found in (pooled, attention)), strict=True
        )
        both = zip(heads.items(), parts, strict=True)
        return {key: (head(one, likeness[key]), looked) for (key, head), (one, looked) in both}

    def tag(self, words: Tensor, shapes: Tensor) -> dict[str, Tensor]:
        """Tag words: (B, N, W) and (B, N, S) to (B, N, 1 + 2 C) for each head of spans."""
        found = zip(self.tagged_keys, self.taggers, strict=True)
        return {key: tagger(words, shapes) for key, tagger in found}

    def forward(
        self, tokens: Tensor, mask: Tensor, firsts: Tensor | None = None, shapes: Tensor | None = None
    ) -> Scores:
        """Answer cases from the encoder's output.

        Args:
            tokens: (B, T, W), where T is a multiple of `pieces.ROUND`.
            mask: (B, T), True where a word piece is real.
            firsts: where each word begins, (B, N); any position where a text has fewer words.
            shapes: (B, N, S), as `spans.shapes` gives them. Neither is needed where no head tags words.
        """
        phrases, is_real = phrases_of(tokens, mask)
        pooled, attention = self.answer(phrases, is_real, self.likeness(mean_of(tokens, mask), phrases, is_real))
        tags = {}
        if self.tagged_keys and firsts is not None and shapes is not None:
            tags = self.tag(words_of(tokens, firsts), shapes)
        return Scores(pooled, attention, tags)


def outputs_of(head: Head) -> list[tuple[str, str]]:
    """Return name and definition of what each output of a head stands for, in order.

    A criterion of a rubric has two: whether it is met, for all criteria, and then whether it applies.
    """
    if head.kind != Kind.RUBRIC:
        return [(label.name, label.definition) for label in head.labels]
    criteria = [criterion for group in head.groups for criterion in group.criteria]
    return [(criterion.name, criterion.definition) for criterion in criteria] * 2


def build(schema: Schema, keys: Sequence[str], encoder: Encoder, *, copies: int = 1) -> CaseModel:
    """Build the heads named by `keys`, with the label texts read by the encoder and nothing learnt."""
    heads = [schema.head(key) for key in keys]
    model = CaseModel(heads, encoder.width, copies=copies)
    for head in heads:
        if head.kind in POOLED:
            model.head(head.key).label_texts.copy_(encode_labels(head, encoder))
    return model


def encode_labels(head: Head, encoder: Encoder) -> Tensor:
    """Encode the names of a head's outputs, and the names with their definitions: (2, C, W), of length 1."""
    outputs = outputs_of(head)
    names = encoder.means([name for name, _ in outputs])
    definitions = encoder.means([f"{name}: {definition}" for name, definition in outputs])
    return functional.normalize(torch.stack([names, definitions]), dim=2)


def phrases_of(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Average word pieces over windows that overlap by half.

    Args:
        tokens: (B, T, W), what the encoder gave; T is a multiple of `STEP`.
        mask: (B, T), True where a word piece is real.

    Returns:
        Phrases, (B, V, W) of the type of `tokens`, and which of them are real, (B, V). How far a batch is padded makes
        no difference to a text's real ones.
    """
    size, _, width = tokens.shape
    sums = (tokens.float() * mask[:, :, None]).view(size, -1, STEP, width).sum(dim=2)  # (B, V, W)
    counts = mask.view(size, -1, STEP).float().sum(dim=2)  # (B, V)
    sums = sums + torch.cat([sums[:, 1:], torch.zeros_like(sums[:, :1])], dim=1)
    following = torch.cat([counts[:, 1:], torch.zeros_like(counts[:, :1])], dim=1)
    # A window whose words the one before it has too adds nothing, but every text has its first
    is_first = torch.arange(sums.shape[1]) == 0
    is_real = is_first | (following > 0)
    return (sums / (counts + following).clamp(min=1.0)[:, :, None]).to(tokens.dtype), is_real


def words_of(tokens: Tensor, firsts: Tensor) -> Tensor:
    """Return the vector of each word, that of its first piece: (B, T, W) and (B, N) to (B, N, W), float32."""
    return tokens.gather(1, firsts[:, :, None].expand(-1, -1, tokens.shape[2])).float()


def word_inputs(texts: Sequence[str], cut: Sequence[Pieces]) -> tuple[Tensor, Tensor]:
    """Return where the words of each text begin, (B, N), and their shapes, (B, N, S)."""
    firsts, shapes = spans.word_inputs(texts, [(one.words, one.firsts) for one in cut])
    return torch.from_numpy(firsts), torch.from_numpy(shapes)
