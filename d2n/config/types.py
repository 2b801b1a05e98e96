"""The types of knobs that several rooms share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from annotated_types import Ge, Le, Lt, MaxLen, MinLen

STRICT = {"extra": "forbid", "strict": False, "allow_inf_nan": False}
Scalar = str | int | float | bool | None
Name = Annotated[str, MinLen(1), MaxLen(100)]  # of what becomes a folder, a run, a registered model
Seed = Annotated[int, Ge(0), Lt(2**31)]
Weight = Annotated[float, Ge(0), Le(1e6)]  # of a loss
DEVICES_EXPECTED = "auto, cpu, cuda, cuda:N, mps or xpu"


def is_device_name(name: str) -> bool:
    """Whether a device may be called so; whether this machine has it is for d2n.devices to say."""
    return re.fullmatch(r"auto|(cpu|mps)(:0)?|(cuda|xpu)(:[0-9]{1,3})?", name) is not None


class _DeviceName:
    """The pydantic side of a device's name."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def checked(name: str) -> str:
            if not is_device_name(name):
                raise PydanticCustomError("device", "expected {expected}", {"expected": DEVICES_EXPECTED})
            return name

        return core_schema.no_info_after_validator_function(checked, handler(source))


Device = Annotated[str, _DeviceName()]
