"""Values and protocols that cross rooms: frozen dataclasses, the shapes of a translator and an extractor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol

from d2n.errors import ProtocolMismatchError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class DatasetInfo:
    """What a run read: logged as its data set input and part of every score's protocol."""

    name: str
    digest: str  # sha256 of the index content: independent of order, machine and folder
    root: str
    rule: str  # the selection rule in words and values
    counts: Mapping[str, int]  # such as {"train/day": 750, "train/night": 750, "train/pairs": 400}


_LATER_FIELDS = frozenset({"queries_digest"})  # of ScoreProtocol: absent where they are not set


@dataclass(frozen=True)
class ScoreProtocol:
    """Everything that two scores must share to be compared."""

    extractor: str  # such as inception, squeezenet1_0, retrieval:d2n-retrieval-toycity
    weights_sha256: str
    resize: str  # clean, tf1, torch; with the size: clean@299
    num_images: int  # N, the same on both sides
    reference_digest: str  # of the real images scored against
    queries_digest: str = (
        ""  # of the queries and their ground truth, or of the day images; "": none is asked for
    )

    @property
    def known(self) -> dict[str, Any]:
        """The fields that are set, by name. One that came later enters only where it is: stored scores keep theirs."""
        values = asdict(self)
        return {key: value for key, value in values.items() if value or key not in _LATER_FIELDS}

    @property
    def identity(self) -> str:
        """Sixteen hex digits of the sha256 over the fields that are set."""
        text = json.dumps(self.known, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def space(self) -> str:
        """'' for the published FID network, else the extractor's name, which such scores carry."""
        return "" if self.extractor == "inception" else self.extractor

    def to_json(self) -> str:
        """As runs and studies keep it."""
        return json.dumps(self.known, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ScoreProtocol:
        """What to_json wrote; ValueError, which says what was found, for anything else."""
        try:
            values = json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        wanted = {one.name: int if one.name == "num_images" else str for one in fields(cls)}
        needed = wanted.keys() - _LATER_FIELDS
        if not isinstance(values, dict) or not needed <= values.keys() <= wanted.keys():
            found = ", ".join(sorted(values)) if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"it holds {found[:120] or 'nothing'}, expected {', '.join(wanted)}")
        for name, kind in wanted.items():
            if name in values and type(values[name]) is not kind:
                said = "a whole number" if kind is int else "text"
                raise ValueError(f"its {name} is {values[name]!r:.60}, expected {said}")
        return cls(**values)

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.identity} (extractor {self.extractor}, weights {self.weights_sha256[:12]}, "
            f"resize {self.resize}, N {self.num_images}, reference {self.reference_digest[:12]}"
            f"{f', queries {self.queries_digest[:12]}' if self.queries_digest else ''})"
        )


@dataclass(frozen=True)
class Score:
    """One score with what is known of its uncertainty."""

    name: str  # fid, fid.squeezenet1_0, kid, prd/f8 …
    value: float
    protocol: ScoreProtocol | None = None
    std: float | None = None
    interval: tuple[float, float] | None = None  # 95 % bootstrap
    floor: float | None = None  # real against real at the same N


def require_one_protocol(protocols: Iterable[ScoreProtocol | None], purpose: str) -> ScoreProtocol | None:
    """The protocol that all share; ``purpose`` is what was about to be done, such as "rank".

    Raises ProtocolMismatchError with the first two identities side by side and the fields they differ in.
    A None (a score without a protocol) differs from every protocol.
    """
    seen = list(dict.fromkeys(protocols))  # frozen dataclasses: equal fields, equal identity
    if len(seen) < 2:
        return seen[0] if seen else None
    first, second = seen[:2]
    raise ProtocolMismatchError(
        f"cannot {purpose} scores of different protocols: {_described(first)} against {_described(second)}"
        f"{_difference(first, second)}; score them again under one protocol with `d2n score RUN_ID`"
    )


def _described(protocol: ScoreProtocol | None) -> str:
    return "no protocol" if protocol is None else protocol.describe()


def _difference(a: ScoreProtocol | None, b: ScoreProtocol | None) -> str:
    if a is None or b is None:
        return ""
    fields_a, fields_b = asdict(a), asdict(b)
    return "; they differ in " + ", ".join(key for key in fields_a if fields_a[key] != fields_b[key])


@dataclass(frozen=True)
class EpochResult:
    """What a training loop yields after each epoch."""

    epoch: int  # 1-based
    step: int  # steps done
    losses: Mapping[str, float]  # means over the epoch
    history: tuple[tuple[int, Mapping[str, float]], ...] = ()  # (step, losses) at each logging interval
    alarms: Mapping[str, float] = field(
        default_factory=dict
    )  # output std, correlation, discriminator accuracy
    images_per_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Compute:
    """Where and how networks compute: values that torch takes as they are (d2n.devices.compute_of reads the knobs)."""

    device: str = "cpu"  # as torch names it
    precision: Literal["fp32", "bf16"] = "fp32"  # of the networks; losses and weights stay float32
    channels_last: bool = False  # memory layout, faster on GPUs and CPUs alike
    compile: bool = False  # by torch.compile
    threads: int = 0  # of torch; 0: as it is
    cuda_graphs: bool = False  # a step recorded once, then replayed


@dataclass(frozen=True)
class StepResult:
    """What a training yields after each step, so that who consumes it may look at the world, and stop there."""

    step: int  # steps done
    losses: Mapping[str, float] = field(default_factory=dict)  # means of a logging interval that ended here
    epoch: EpochResult | None = None  # of an epoch that ended here


@dataclass(frozen=True)
class Evaluation(StepResult):
    """A step's result, with what it was worth on held-out images where it was evaluated."""

    scores: Mapping[str, float] = field(default_factory=dict)  # finite ones by name
    is_last: bool = False  # nothing is left to train


class Translator(Protocol):
    """A GAN that translates one domain to another, such as day to night."""

    def step(self, images: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """One optimisation step on images (B, 3, H, W) in [-1, 1] by domain; detached losses, not yet fetched."""
        ...

    def translate(self, day: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], any size, to fake night of the same shape; eval mode, no gradients."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs: nested dict of tensors and plain values."""
        ...


class FeatureExtractor(Protocol):
    """Images to feature vectors."""

    @property
    def identity(self) -> Mapping[str, str]:
        """extractor, weights_sha256 and resize, as in ScoreProtocol."""
        ...

    @property
    def dim(self) -> int:
        """Numbers a feature has."""
        ...

    def __call__(self, images: list[Any]) -> np.ndarray:
        """RGB uint8 arrays (H, W, 3) or paths to (N, dim) float32."""
        ...
