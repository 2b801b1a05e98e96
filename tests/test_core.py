from __future__ import annotations

from dataclasses import replace

import pytest

from d2n.core import ScoreProtocol, require_one_protocol
from d2n.errors import ProtocolMismatchError

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)


def test_the_identity_changes_with_every_field_and_with_nothing_else() -> None:
    changed = [
        replace(PROTOCOL, extractor="squeezenet1_0"),
        replace(PROTOCOL, weights_sha256="ff" * 32),
        replace(PROTOCOL, resize="torch@299"),
        replace(PROTOCOL, num_images=199),
        replace(PROTOCOL, reference_digest="00" * 32),
        replace(PROTOCOL, queries_digest="00" * 32),
    ]
    assert len({PROTOCOL.identity, *(other.identity for other in changed)}) == 7
    assert replace(PROTOCOL).identity == PROTOCOL.identity
    assert len(PROTOCOL.identity) == 16


def test_a_field_that_came_later_changes_nothing_where_it_is_not_set() -> None:
    """The identity and the JSON that stored scores carry."""
    assert PROTOCOL.identity == "7c72010c8257233d"
    assert "queries" not in PROTOCOL.to_json() + PROTOCOL.describe()
    asked = replace(PROTOCOL, queries_digest="ef" * 32)
    assert [ScoreProtocol.from_json(one.to_json()) for one in (PROTOCOL, asked)] == [PROTOCOL, asked]
    with pytest.raises(ValueError, match="expected extractor"):
        ScoreProtocol.from_json('{"queries_digest": ""}')


def test_only_the_published_network_has_no_space_in_its_name() -> None:
    assert PROTOCOL.space == ""
    assert replace(PROTOCOL, extractor="squeezenet1_0").space == "squeezenet1_0"


def test_two_protocols_are_refused_with_both_identities_side_by_side() -> None:
    other = replace(PROTOCOL, num_images=50)
    with pytest.raises(ProtocolMismatchError) as caught:
        require_one_protocol([PROTOCOL, other], "rank")
    assert PROTOCOL.identity in str(caught.value)
    assert other.identity in str(caught.value)
    assert require_one_protocol([PROTOCOL, PROTOCOL], "rank") == PROTOCOL
