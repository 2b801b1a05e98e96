"""Adam (Kingma and Ba, 2015) that walks memory in its order, whatever the layout of the parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """torch's Adam, whose fused kernel gets parameters in channels_last as views in the order of their memory.

    On the CPU that kernel (torch 2.14) walks memory: it copies what is in channels_last, which takes as long as the
    update, and pairs the wrong numbers where a gradient or a moment lies otherwise than its parameter.
    """

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> Any:
        has_complex = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        params, grads, *moments = lists[:4]
        for i, param in enumerate(params):
            if grads[i].stride() != param.stride():
                grads[i] = torch.empty_like(param).copy_(grads[i])
            for tensors in moments:
                if tensors[i].stride() != param.stride():  # as after loading a state; it stays the state's
                    tensors[i].data = torch.empty_like(param).copy_(tensors[i])
            if _in_channels_last(param):
                for tensors in (params, grads, *moments):
                    tensors[i] = tensors[i].permute(0, 2, 3, 1)
        return has_complex


def _in_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
