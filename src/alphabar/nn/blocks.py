"""The blocks that a network is made of."""

from __future__ import annotations

from torch import nn


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """What stands in lists of a network and is called as one, the inner ones first."""
    lists = [module for module in net.modules() if isinstance(module, nn.ModuleList)]
    listed = {block for row in lists for block in row if type(block).forward is not nn.Module.forward}
    return [m for m in reversed(list(net.modules())) if m in listed and any(True for _ in m.parameters())]
