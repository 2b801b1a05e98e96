"""What a promotion weighs, and what comes out: candidates, their comparison, the decision; as JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError


@dataclass(frozen=True)
class Candidate:
    """A trained generator with its score on the test split."""

    run_id: str
    method: str  # pix2pix, cyclegan, cut
    score: Score  # with protocol, and where known interval (95 %), std and floor
    validation: Score | None = (
        None  # what the study minimised: breaks ties, and shows whether it pointed here
    )
    dataset_digest: str = ""  # of the data set it was trained on
    model_id: str = ""  # the LoggedModel
    study: str = ""
    name: str = ""  # the registered model and version of a champion, such as d2n-toycity/3
    seed: int | None = None
    setting: str = ""  # candidates of one setting differ in their seed alone; '': a setting of its own

    @property
    def label(self) -> str:
        """How the reasons name it."""
        return f"{self.method} {self.name or self.run_id}"

    @property
    def setting_key(self) -> str:
        """What it shares with the other seeds of its setting."""
        return self.setting or self.run_id


@dataclass(frozen=True)
class LeftOut:
    """A candidate that could not take part, and why."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True)
class Comparison:
    """A candidate's setting against the champion's on the same images; a positive gain is better."""

    metric: str
    gain: float
    deviation: float | None  # of the gain, over images and seeds; None where nothing tells it
    degrees: float | None  # of freedom of that deviation
    low: float | None  # the gain is over this at the level
    level: float
    clear: bool | None  # low > 0; None where the deviation is not known
    candidate_value: float  # mean over its seeds
    champion_value: float
    seeds: tuple[int, int]  # of the candidate's setting, of the champion's
    num_images: int = 0  # a side; 0 where no images were resampled
    image_deviation: float = 0.0
    seed_deviation: float = 0.0
    where: str = ""  # which images, such as "part 1 of 2 of the test split"
    protocol: ScoreProtocol | None = None  # of these images
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The winner, whether it takes the alias, and why in words and values."""

    winner: Candidate
    promote: bool
    reasons: tuple[str, ...]
    ranking: tuple[Candidate, ...] = ()  # best first, one a setting; without those left out
    left_out: tuple[LeftOut, ...] = ()
    champion: Candidate | None = None
    gain: float | None = None  # over the champion, positive is better; None without a scored champion
    clear: bool | None = None  # whether the gain exceeds its noise; None where the noise is not known
    seeds: tuple[Candidate, ...] = ()  # of the winner's setting, the winner first
    comparison: Comparison | None = None
    accepted_noise: bool = False  # promoted although the gain is not clear, as it was asked for

    def to_json(self) -> str:
        """The whole decision, as cards and histories keep it; a score that is not finite as text."""
        return json.dumps(_finite(asdict(self)), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """What to_json wrote; D2NError, which says what was found, for anything else."""
        try:
            return _decision(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise D2NError(
                f"a decision of {len(text)} characters cannot be read ({type(error).__name__}: {error}), expected "
                "what Decision.to_json wrote"
            ) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _decision(found: Mapping[str, Any]) -> Decision:
    comparison, champion = found["comparison"], found["champion"]
    return Decision(
        **{
            **found,
            "winner": _candidate(found["winner"]),
            "reasons": tuple(found["reasons"]),
            "ranking": tuple(map(_candidate, found["ranking"])),
            "left_out": tuple(LeftOut(_candidate(x["candidate"]), x["reason"]) for x in found["left_out"]),
            "champion": _candidate(champion) if champion else None,
            "seeds": tuple(map(_candidate, found["seeds"])),
            "comparison": _comparison(comparison) if comparison else None,
        }
    )


def _comparison(found: Mapping[str, Any]) -> Comparison:
    seeds = tuple(found["seeds"])
    given = {
        **found,
        "seeds": seeds,
        "notes": tuple(found["notes"]),
        "protocol": _protocol(found["protocol"]),
    }
    return Comparison(**given)


def _candidate(found: Mapping[str, Any]) -> Candidate:
    validation = found["validation"]
    given = {
        **found,
        "score": _score(found["score"]),
        "validation": _score(validation) if validation else None,
    }
    return Candidate(**given)


def _score(found: Mapping[str, Any]) -> Score:
    interval = tuple(found["interval"]) if found["interval"] else None
    value = float(found["value"])
    return Score(**{**found, "value": value, "protocol": _protocol(found["protocol"]), "interval": interval})


def _protocol(found: Mapping[str, Any] | None) -> ScoreProtocol | None:
    return ScoreProtocol(**found) if found else None
