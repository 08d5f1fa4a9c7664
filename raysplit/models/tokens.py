"""Texts as numbered tokens: how a network reads them, and the layers that look them up.

A text is a sample [1, 1, L] of L whole numbers, bytes where there are at most 256 tokens and float32 otherwise (exact up
to 2^24). Token 0 of words is every unknown word and what fills a short text up. Scenarios that train on texts say
``pixels="bytes"``. The lookup is the first stage, so numbers of tokens never leave a client: what crosses the wire is
rows of the table, or what further stages made of them.
"""

from __future__ import annotations

import torch
from torch import nn

from raysplit.errors import ScenarioError


def to_tokens(x: torch.Tensor, tokens: int) -> torch.Tensor:
    """Samples [B, 1, 1, L] of floating whole numbers → int64 [B, L]; raises ``ScenarioError`` for a token that the
    table lacks."""
    numbers = x.flatten(1).long()
    least, most = (int(number) for number in numbers.aminmax()) if numbers.numel() else (0, 0)
    if least < 0 or most >= tokens:
        raise ScenarioError(
            f"a text has the token {least if least < 0 else most}, but the model was told of {tokens} tokens, 0 to {tokens - 1}; set its tokens "
            "to what the population was prepared with"
        )
    return numbers


class TokenEmbedding(nn.Module):
    """[B, 1, 1, L] → [B, L, dim]: a row of the table for each token, Glorot-uniform at first (``rows`` [tokens, dim]:
    these)."""

    def __init__(self, tokens: int, dim: int, rows: torch.Tensor | None = None) -> None:
        super().__init__()
        self.tokens = tokens
        self.table = nn.Embedding(tokens, dim)
        nn.init.xavier_uniform_(self.table.weight)
        if rows is not None:
            with torch.no_grad():
                self.table.weight.copy_(rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.table(to_tokens(x, self.tokens))
        return vectors


class TokenSum(nn.Module):
    """[B, 1, 1, L] → [B, units]: the sum of the rows of a text's tokens, token 0 left out, plus a bias.

    That is a linear layer on the counts of words, a bag of words, without ever writing the counts down.
    """

    def __init__(self, tokens: int, units: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.table = nn.Embedding(tokens, units)
        nn.init.xavier_uniform_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numbers = to_tokens(x, self.tokens)
        vectors: torch.Tensor = self.table(numbers) * (numbers > 0).unsqueeze(-1)
        return vectors.sum(1) + self.bias
