"""A table says the same on the page and in LaTeX, and no name in it is a command."""

from __future__ import annotations

from d2n.workflows.report.tables import Cell, Table


def test_both_forms_hold_every_cell() -> None:
    rows = [
        [
            Cell("a_b & 5 %", "http://h/#/x"),
            Cell("22.00 ± 1.00", below="+16.00 ± 0.71", is_below_bold=True),
            None,
        ]
    ]
    table = Table("comparison", "mAP of $x$", ["arm", "mAP", "seeds"], rows)
    page, latex = table.as_html(), table.as_latex()
    assert '<a href="http://h/#/x">a_b &amp; 5 %</a>' in page
    assert "<b>+16.00 ± 0.71</b>" in page
    assert '<th scope="col">mAP</th>' in page
    assert '<th scope="row"' in page
    assert "<caption><span>mAP of $x$</span></caption>" in page
    assert r"a\_b \& 5 \% & 22.00 $\pm$ 1.00 (\textbf{+16.00 $\pm$ 0.71}) & -- \\" in latex
    assert r"\caption{mAP of \$x\$}" in latex
    assert r"\begin{tabular}{lrr}" in latex


def test_a_hostile_name_is_inert() -> None:
    table = Table("x", "c", ["h"], [[r"\input{/etc/passwd}<script>"]])
    assert r"\textbackslash{}input\{/etc/passwd\}" in table.as_latex()
    assert "<script>" not in table.as_html()
