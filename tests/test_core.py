"""Values that cross rooms: the protocol's identity and the refusal to mix."""

from __future__ import annotations

import dataclasses

import pytest

from d2n.core import ScoreProtocol, require_one_protocol
from d2n.errors import ProtocolMismatchError

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(ScoreProtocol)])
def test_every_field_changes_the_identity(field: str) -> None:
    changed = dataclasses.replace(PROTOCOL, **{field: 7 if field == "num_images" else "other"})
    assert changed.identity != PROTOCOL.identity
    with pytest.raises(ProtocolMismatchError, match=f"differ in {field};"):
        require_one_protocol([PROTOCOL, PROTOCOL, changed], "rank")


def test_one_protocol_passes() -> None:
    assert require_one_protocol([PROTOCOL, dataclasses.replace(PROTOCOL)], "rank") == PROTOCOL
    assert require_one_protocol([], "rank") is None


def test_the_space_is_named_unless_it_is_the_published_network() -> None:
    assert PROTOCOL.space == ""
    assert dataclasses.replace(PROTOCOL, extractor="squeezenet1_0").space == "squeezenet1_0"
