"""Verbs that measure: score, study-scores, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d2n.cli.console import examples, print_lines, say, starting
from d2n.cli.options import settings, tracking


@click.command(
    epilog=examples(
        "d2n score RUN_ID",
        "d2n score RUN_ID --on rsfm --root data/rsfm",
        "d2n score --real photos/night --fake photos/fake_night --extractor squeezenet1_0",
    )
)
@click.argument("run_id", required=False)
@click.option("--real", type=click.Path(path_type=Path), help="folder of real night photographs")
@click.option("--fake", type=click.Path(path_type=Path), help="folder of translated photographs")
@click.option("--scores", "names", default="fid,kid,prd", show_default=True, help="which, comma-separated")
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    default="test",
    show_default=True,
    help="held-out images that a run is scored on",
)
@click.option("--on", metavar="NAME", help="another data set to score the run's generator on, such as rsfm")
@click.option(
    "--root", type=click.Path(path_type=Path), help="where the data set of --on lies [default: data/NAME]"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--plot", type=click.Path(path_type=Path), help="write the PRD figure (.html, .png or .svg)")
@click.option(
    "--extractor",
    help="inception, a torchvision name, retrieval:MODEL@ALIAS [default: the run's, or inception]",
)
@click.option("--weights", type=click.Path(path_type=Path), help="local weights file of the extractor")
@click.option(
    "--resize",
    type=click.Choice(["clean", "tf1", "torch"]),
    default=None,
    help="how images are resized for the extractor [default: the run's, or clean]",
)
@click.option(
    "--num-images", type=click.IntRange(2), default=None, help="N on both sides [default: all that both have]"
)
@click.option(
    "--seed", default=0, show_default=True, help="of the images drawn where a folder has more than N"
)
@tracking
def score(**options: Any) -> None:
    """All scores of a generator, or of two folders.

    RUN_ID is a finished translation run; its test scores are added to it, those on another data set beside them.
    """
    from d2n.workflows import preflight

    options["names"] = tuple(name.strip() for name in options["names"].split(",") if name.strip())
    asked = ("names", "run_id", "real", "fake", "weights", "tracking_uri")
    preflight.scoring(*(options[key] for key in asked))
    preflight.scoring_elsewhere(options["run_id"], options["on"], options["root"])
    if options["plot"] is not None:
        from d2n.files.writing import require_writable

        require_writable(options["plot"].parent)
    starting(f"d2n score: {', '.join(options['names'])} of {options['run_id'] or options['fake']}")
    from d2n.workflows import score as workflow

    print_lines(workflow.score_command(workflow.ScoreRequest(**options)))


@click.command(
    "study-scores",
    epilog=examples(
        "d2n study-scores retrieval_toycity_baseline --scored-by cyclegan_toycity --seeds 3",
        "d2n study-scores retrieval_toycity_baseline --scored-by cyclegan_toycity --scores fid,kid,place/night_to_fake",
        "d2n study-scores retrieval_toycity_baseline --scored-by cyclegan_toycity --only-answer",
    ),
)
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option(
    "--scored-by",
    type=click.Path(path_type=Path),
    required=True,
    help="translation experiment whose evaluation scores the generators",
)
@click.option("--scores", default="", help="which, comma-separated [default: the evaluation's]")
@click.option(
    "--generator",
    "references",
    multiple=True,
    help="a run id, models:/NAME@ALIAS or a folder; may be repeated [default: every finished one in the store]",
)
@click.option(
    "--generators",
    "listed",
    type=click.Path(path_type=Path),
    help="a YAML that lists them, or NAME: GENERATOR",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="retrieval networks of each"
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    default=Path("study-scores.csv"),
    show_default=True,
    help="where every finished row is kept; one that is there is gone on with",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("study-scores"),
    show_default=True,
    help="folder of the answer: text, JSON and figure",
)
@click.option("--only-answer", is_flag=True, help="train nothing: what does the table say?")
@settings
@tracking
def study_scores(
    experiment: Path,
    references: tuple[str, ...],
    listed: Path | None,
    scores: str,
    tracking_uri: str | None,
    **options: Any,
) -> None:
    """Find out which score goes with mAP, with generators that train retrieval networks.

    EXPERIMENT is a retrieval YAML: each generator gives it its nights, over several seeds. Rank correlations with
    intervals over generators, scores compared in pairs, and the best pair of scores.
    """
    starting(f"d2n study-scores: {options['table']}")
    from d2n.files.writing import require_writable

    require_writable(options["out"])
    from d2n.workflows import study_scores as workflow

    named = workflow.references(listed) if listed is not None else {}
    request = workflow.Request(
        experiment,
        generators=(*references, *named),
        names=named,
        scores=tuple(name.strip() for name in scores.split(",") if name.strip()),
        **options,
    )
    print_lines(workflow.study_scores_command(request, tracking_uri=tracking_uri, progress=True))


@click.command(
    epilog=examples("d2n report", "d2n report --dataset toycity --out toycity-report", "d2n report --latex")
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="folder of the page and its figures",
)
@click.option("--dataset", help="only this data set")
@click.option("--latex", is_flag=True, help="write every table as LaTeX too, into tables/")
@click.option(
    "--contact-sheet",
    is_flag=True,
    help="write contact-sheet.html too: the same photographs by every run at every step, to sort by any score",
)
@tracking
def report(
    out: Path, dataset: str | None, latex: bool, contact_sheet: bool, tracking_uri: str | None
) -> None:
    """The paper's table and figures from the tracked runs, one self-contained HTML."""
    from d2n.files.writing import require_writable
    from d2n.workflows import preflight

    require_writable(out)
    preflight.store(tracking_uri)
    starting("d2n report: reading the tracked runs")
    from d2n.workflows import report as workflow

    page = workflow.report_command(out, dataset=dataset, tracking_uri=tracking_uri, has_latex=latex)
    say(f"wrote {page}")
    if contact_sheet:
        from d2n.workflows.report import contact

        say(f"wrote {contact.contact_command(out, dataset=dataset, tracking_uri=tracking_uri)}")
