"""Names as the report writes them."""

from __future__ import annotations

from d2n.workflows.report.wording import short, short_space


def test_d2ns_own_networks_have_short_names() -> None:
    assert short("fid.retrieval-d2n-retrieval-toycity-3") == "fid (toycity-3)"
    assert short("kid.retrieval-d2n-retrieval-toycity-3") == "kid"
    assert short("fid") == "fid"


def test_no_two_spaces_share_a_name() -> None:
    spaces = [
        "retrieval-d2n-retrieval-toycity-1",
        "retrieval-toycity-1",
        "retrieval-d2n-retrieval-retrieval-toycity-1",
        "retrieval-d2n-retrieval-random-vgg16-1",
        "random-vgg16-1",
        "toycity",
        "squeezenet1_0",
        "retrieval-d2n-retrieval-",
    ]
    assert len({short_space(space) for space in spaces}) == len(spaces)
