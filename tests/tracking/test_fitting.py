from __future__ import annotations

import pytest

from d2n.tracking.fitting import fitted

SECTIONS = (
    "# Title\n\nA sentence.\n\n## Long\n" + "".join(f"- line {n}\n" for n in range(99)) + "\n## Last\n- end\n"
)


def test_what_fits_stays_as_it_is() -> None:
    assert fitted(SECTIONS, len(SECTIONS)) == SECTIONS
    assert fitted("", 0) == ""


@pytest.mark.parametrize("longest", [200, 400, len(SECTIONS) - 1])
def test_the_longest_section_gives_lines_and_every_heading_stays(longest: int) -> None:
    text = fitted(SECTIONS, longest)
    assert longest - 60 < len(text) <= longest
    assert text.startswith("# Title\n\nA sentence.\n\n## Long\n- line 0\n")
    assert "- … the rest is in the run\n\n## Last\n- end\n" in text


@pytest.mark.parametrize(
    "text", ["x" * 9000, "# a\n" + "y" * 9000, "z\n" * 4000, "# h\n" * 3000, "## long\n\n"]
)
@pytest.mark.parametrize("longest", [4900, 30, 1])
def test_whatever_it_is_it_fits(text: str, longest: int) -> None:
    assert len(fitted(text, longest)) <= longest
    assert len(fitted(text, longest)) > min(longest, len(text)) / 3
