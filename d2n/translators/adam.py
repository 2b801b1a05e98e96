"""Adam (Kingma and Ba, 2015) that walks memory in its order, whatever the layout of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from d2n.translators.nhwc import is_channels_last

_HOW = ("lr", "fused", "foreach", "capturable")  # of a group's options, what is this machine's


class Adam(torch.optim.Adam):
    """torch's Adam, whose fused kernel gets parameters in channels_last as views in the order of their memory.

    On a GPU the learning rate is a tensor there, so that a recorded step reads today's. On the CPU that kernel (torch
    2.14) walks memory: it copies what is in channels_last, which takes as long as the update, and pairs the wrong
    numbers where a gradient or a moment lies otherwise than its parameter.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, **options: Any) -> None:
        parameters = list(parameters)
        device = parameters[0].device
        on_gpu = device.type == "cuda"
        rate: float | Tensor = torch.tensor(lr, device=device) if on_gpu else lr
        super().__init__(parameters, lr=rate, capturable=on_gpu, **options)

    def set_lr(self, lr: float) -> None:
        """The learning rate of the next steps."""
        for group in self.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """As torch's, whatever the device: another may load it."""
        state = super().state_dict()
        for group in state["param_groups"]:
            group["lr"], group["capturable"] = float(group["lr"]), False
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A state of any device; how this optimiser computes stays as it is. ``set_lr`` before the next step."""
        own = {key: self.param_groups[0][key] for key in _HOW}  # the same in all groups
        groups = [{**group, **own} for group in state["param_groups"]]
        super().load_state_dict({**state, "param_groups": groups})
        for group in self.param_groups:
            group |= own  # torch copies what it loads

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> Any:
        has_complex = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        params, grads, *moments = lists[:4]
        for i, param in enumerate(params):
            if grads[i].stride() != param.stride():
                grads[i] = torch.empty_like(param).copy_(grads[i])
            for tensors in moments:
                if tensors[i].stride() != param.stride():  # as after loading a state; it stays the state's
                    tensors[i].data = torch.empty_like(param).copy_(tensors[i])
            if is_channels_last(param):
                for tensors in (params, grads, *moments):
                    tensors[i] = tensors[i].permute(0, 2, 3, 1)
        return has_complex
