"""A residual network for vectors: the rows of tables, parameters, embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_whole
from .dropout import Dropout
from .embedding import Embedded, check_cond, check_name

MOST_WIDTH, MOST_BLOCKS = 2**14, 256
FREQUENCIES = 128


class MLP(Embedded):
    """Residual blocks over vectors: x (B, D), c_noise (B,), cond → (B, D).

    A block is x + gate · W_2 SiLU(W_1 (norm(x) (1 + scale) + shift)), where scale, shift and gate are linear
    in the embedding of time and conditions and begin at 0 (adaLN-Zero, arXiv 2212.09748).

    Args:
        shape: (D,) of one sample.
        width: of the residual stream.
        blocks: how many.
        expansion: the width within a block, over that of the stream.
        dropout: within the blocks, while training.
        conditions: name → (K,) of what the network can be told. All zeros, or a missing name, tell nothing.

    >>> import torch
    >>> net = MLP((9,), width=64, blocks=2, conditions={"class": (3,)})
    >>> net(torch.zeros(4, 9), torch.zeros(4), {"class": torch.eye(3)[[0, 1, 2, 0]]}).shape
    torch.Size([4, 9])
    """

    outer = (*Embedded.outer, "linear_in", "linear_out")

    @staticmethod
    def suits(shape: Sequence[int], given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings for samples of this shape, those that are `given` among them."""
        return {"width": 256, "blocks": 3, **given}

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 512,
        blocks: int = 4,
        expansion: int = 2,
        dropout: float = 0.0,
        conditions: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise ValueError(f"network: mlp is for vectors (D,), got samples of shape {tuple(shape)}")
        for name, value, most in (
            ("width", width, MOST_WIDTH), ("blocks", blocks, MOST_BLOCKS), ("expansion", expansion, 16)
        ):  # fmt: skip
            check_whole(f"network: {name}", value, 1, most)
        for name, given in (conditions or {}).items():
            check_name(name)
            if len(given) != 1:
                raise ValueError(
                    f"network: mlp takes conditions of shape (K,), and {name} has {tuple(given)}"
                )
        self.config = {
            "name": "mlp", "width": width, "blocks": blocks, "expansion": expansion, "dropout": dropout
        }  # fmt: skip
        self.shape = tuple(shape)
        self.add_embeddings(FREQUENCIES, width, {name: k for name, (k,) in (conditions or {}).items()})
        self.linear_in = nn.Linear(shape[0], width)
        self.blocks = nn.ModuleList(Block(width, expansion * width, dropout) for _ in range(blocks))
        self.norm_out = nn.LayerNorm(width)
        self.linear_out = nn.Linear(width, shape[0])
        self.initialize()
        for block in self.blocks:
            nn.init.zeros_(block.embed.weight)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        nn.init.zeros_(self.linear_out.weight)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """x: (B, D); c_noise: (B,); cond: name → (B, K)."""
        cond = check_cond(cond or {}, {name: (len(x), size) for name, size in self.vectors.items()})
        emb = self.embedded(c_noise, cond)
        h = self.linear_in(x)
        for block in self.blocks:
            h = block(h, emb)
        return self.linear_out(F.silu(self.norm_out(h)))


class Block(nn.Module):
    """Norm, scale and shift; linear, SiLU, dropout, linear; gate; plus the input."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.linear1 = nn.Linear(width, inner)
        self.dropout = Dropout(dropout)
        self.linear2 = nn.Linear(inner, width)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift, gate = self.embed(emb).chunk(3, 1)
        h = self.norm(x) * (1 + scale) + shift
        return x + gate * self.linear2(self.dropout(F.silu(self.linear1(h))))
