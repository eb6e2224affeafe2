"""What speed is compared with: the published way to run and to train the published model, in torch on the processor.

A DistilBERT with random weights stands for it, which take as long as any. Four linear heads read its first vector. It
answers one case at a time, padded to 256 word pieces, and learns in float32 on batches padded to 512.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import DistilBertConfig, DistilBertModel

SERVED_TOKENS = 256
TRAINED_TOKENS = 512
TRAINED_AT_ONCE = 16
OUTPUTS = (7, 58, 8, 3)  # Of the heads: main category, sub-category, intervention, priority
RATE = 2e-5


class Reference:
    """An encoder with four heads, run as it was published."""

    def __init__(self, tokenizer: Tokenizer, config: DistilBertConfig | None = None) -> None:
        """Build it with random weights.

        Args:
            config: sizes of the encoder; without one those of DistilBERT, 6 layers of 768.
        """
        self.tokenizer = tokenizer
        self.network = DistilBertModel(config or DistilBertConfig())
        width = self.network.config.dim
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in OUTPUTS)
        self._optimiser = torch.optim.AdamW([*self.network.parameters(), *self.heads.parameters()], lr=RATE)

    def answer(self, text: str) -> list[int]:
        """Return the position of the likeliest label of each head."""
        self.network.eval()  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            return [int(scores.argmax()) for scores in self._scores([text], SERVED_TOKENS)]

    def step(self, texts: Sequence[str]) -> float:
        """Learn from a batch that every first label is right, and return the loss in nats."""
        self.network.train()
        wanted = torch.zeros(len(texts), dtype=torch.long)
        losses = [functional.cross_entropy(scores, wanted) for scores in self._scores(texts, TRAINED_TOKENS)]
        loss = torch.stack(losses).sum()
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    def _scores(self, texts: Sequence[str], length: int) -> list[Tensor]:
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(length=length)
        read = self.tokenizer.encode_batch(list(texts))
        hidden = self.network(
            input_ids=torch.tensor([one.ids for one in read]),
            attention_mask=torch.tensor([one.attention_mask for one in read]),
        ).last_hidden_state
        return [head(hidden[:, 0]) for head in self.heads]
