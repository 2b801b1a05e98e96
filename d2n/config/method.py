"""What a GAN method is before torch: its knobs, what it learns from, its presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from d2n.config.translator import TranslatorConfig
from d2n.config.types import Scalar

SHARED = frozenset(item.name for item in dataclasses.fields(TranslatorConfig))
Preset = Mapping[str, Mapping[str, Any]]  # {room: {knob: value}}


@dataclass(frozen=True, kw_only=True)
class MethodKnobs:
    """The half of a method's row that needs no torch; translators/<name>.py holds the other, the networks."""

    config: type[TranslatorConfig]
    """Its knobs: the shared ones and its own."""
    paired: bool
    """Whether it learns from day and night images in pairs."""
    many: bool = False
    """Whether it learns among more than two domains."""
    presets: Mapping[str, Preset]
    """What each preset sets; knobs given in the YAML win."""
    formerly: Mapping[str, Mapping[str, Scalar]] = dataclasses.field(default_factory=dict)
    """{preset: {dotted knob: what an earlier release's preset set}}: what was begun with it goes on with it."""

    @property
    def name(self) -> str:
        """What translator.method says."""
        return str(next(item.default for item in dataclasses.fields(self.config) if item.name == "method"))

    @property
    def own(self) -> frozenset[str]:
        """The knobs that not every method has."""
        return frozenset(item.name for item in dataclasses.fields(self.config)) - SHARED
