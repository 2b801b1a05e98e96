"""Scores of different protocols are never compared, and other feature spaces carry their name."""

import dataclasses

import pytest

from d2n.core import Score, ScoreProtocol
from d2n.errors import ProtocolMismatchError
from d2n.scores.protocol import check_same_protocol, score_name

PROTOCOL = ScoreProtocol("inception", "a" * 64, "clean@299", 100, "b" * 64)


@pytest.mark.parametrize(
    "other",
    [
        {"extractor": "vgg16"},
        {"weights_sha256": "c" * 64},
        {"resize": "tf1@299"},
        {"num_images": 101},
        {"reference_digest": "d" * 64},
    ],
)
def test_any_difference_is_refused_with_both_identities(other):
    changed = dataclasses.replace(PROTOCOL, **other)
    with pytest.raises(ProtocolMismatchError) as caught:
        check_same_protocol(Score("fid", 1.0, PROTOCOL), Score("fid", 2.0, changed))
    assert PROTOCOL.identity in str(caught.value)
    assert changed.identity in str(caught.value)


def test_the_same_protocol_passes_and_none_is_refused():
    check_same_protocol(Score("fid", 1.0, PROTOCOL), dataclasses.replace(PROTOCOL))
    with pytest.raises(ProtocolMismatchError, match="without a protocol"):
        check_same_protocol(Score("fid", 1.0), PROTOCOL)


@pytest.mark.parametrize(
    ("extractor", "name"),
    [
        ("inception", "fid"),
        ("squeezenet1_0", "fid.squeezenet1_0"),
        ("random-inception", "fid.random-inception"),
        ("retrieval:d2n-retrieval-toycity@baseline", "fid.retrieval-d2n-retrieval-toycity-baseline"),
    ],
)
def test_names_carry_the_feature_space(extractor, name):
    assert score_name("fid", dataclasses.replace(PROTOCOL, extractor=extractor)) == name
