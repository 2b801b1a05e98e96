"""The public names: there, light to import, with the signatures that others call."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import d2n

HEAVY = ("torch", "torchvision", "mlflow", "optuna", "pandas", "numpy", "scipy", "plotly", "PIL", "click")

# As DESIGN names them: what others call, with the parameters they may give by position or by name.
STABLE = {
    "d2n.open": "tracking_uri",
    "d2n.load_generator": "reference",
    "d2n.translate": "images reference",
    "d2n.scores.frechet.FeatureStats.from_features": "x",
    "d2n.scores.frechet.frechet_distance": "a b",
    "d2n.scores.frechet.frechet_from_features": "x y",
    "d2n.scores.kid.kid": "x y subset_size num_subsets seed",
    "d2n.scores.prd.prd_from_histograms": "reference evaluated num_angles grid",
    "d2n.scores.prd.prd": "real fake num_clusters num_angles num_runs seed method",
    "d2n.scores.prd.PrdCurve.f_beta": "self beta",
    "d2n.scores.prd.max_f_beta": "reference evaluated beta",
    "d2n.scores.neighbours.precision_recall_density_coverage": "real fake k",
    "d2n.scores.ssim.ssim": "x y data_range window",
    "d2n.scores.ssim.ms_ssim": "x y data_range",
    "d2n.scores.inception_score.inception_score": "probabilities splits",
    "d2n.scores.mean_ap.average_precision": "positive_ranks num_positives",
    "d2n.scores.mean_ap.mean_average_precision": "ranks ground_truth kappas",
    "d2n.scores.mean_ap.revisited": "ranks ground_truth kappas",
    "d2n.scores.mean_ap.recall_at": "ranks ground_truth kappas",
    "d2n.translators.networks.UNetGenerator": "depth base_channels norm dropout",
    "d2n.translators.networks.ResNetGenerator": "blocks base_channels norm dropout",
    "d2n.translators.networks.PatchDiscriminator": "in_channels base_channels layers norm",
    "d2n.retrieval.network.GeM": "p eps channels",
    "d2n.retrieval.network.l2n": "x eps",
    "d2n.retrieval.losses.contrastive_loss": "descriptors labels margin eps",
    "d2n.retrieval.whitening.learn_whitening": "x query_idx positive_idx",
    "d2n.retrieval.whitening.apply_whitening": "x whitening dim",
    "d2n.retrieval.night.pad_to_multiple": "x multiple mode",
    "d2n.retrieval.night.unpad": "x pads",
}
DEFAULTS = {
    "d2n.open": {"tracking_uri": None},
    "d2n.scores.kid.kid": {"subset_size": None, "num_subsets": 100, "seed": 0},
    "d2n.scores.prd.prd": {
        "num_clusters": 20,
        "num_angles": 1001,
        "num_runs": 10,
        "seed": 0,
        "method": "exact",
    },
    "d2n.scores.prd.prd_from_histograms": {"num_angles": 1001, "grid": "reference"},
    "d2n.scores.ssim.ssim": {"window": "uniform"},
    "d2n.scores.inception_score.inception_score": {"splits": 1},
    "d2n.scores.mean_ap.mean_average_precision": {"kappas": (1, 5, 10)},
    "d2n.scores.mean_ap.recall_at": {"kappas": (1, 5, 10)},
    "d2n.translators.networks.UNetGenerator": {
        "depth": 8,
        "base_channels": 64,
        "norm": "batch",
        "dropout": False,
    },
    "d2n.translators.networks.ResNetGenerator": {
        "blocks": 9,
        "base_channels": 64,
        "norm": "instance",
        "dropout": False,
    },
    "d2n.translators.networks.PatchDiscriminator": {
        "in_channels": 3,
        "base_channels": 64,
        "layers": 3,
        "norm": "instance",
    },
    "d2n.retrieval.network.GeM": {"p": 3.0, "eps": 1e-6, "channels": None},
    "d2n.retrieval.network.l2n": {"eps": 1e-6},
    "d2n.retrieval.losses.contrastive_loss": {"eps": 1e-6},
    "d2n.retrieval.whitening.apply_whitening": {"dim": None},
    "d2n.retrieval.night.pad_to_multiple": {"mode": "reflect"},
}


def resolved(dotted: str) -> object:
    """The object of a dotted name: modules first, then attributes."""
    parts = dotted.split(".")
    found: object = import_module(parts[0])
    for end, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = import_module(".".join(parts[:end]))
    return found


def test_importing_d2n_loads_nothing_heavy_and_bounds_the_waiting() -> None:
    code = (
        "import os\nos.environ.pop('GOMP_SPINCOUNT', None)\nos.environ.pop('OMP_WAIT_POLICY', None)\n"
        "import sys, d2n\ndir(d2n)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], os.environ['GOMP_SPINCOUNT'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1500\n"


@pytest.mark.parametrize("name", d2n.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(d2n, name)
    assert name in dir(d2n)
    if name != "__version__":
        assert inspect.getdoc(value)


def test_a_name_that_is_not_there_is_refused_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'd2n' has no attribute 'opne'"):
        d2n.opne  # type: ignore[attr-defined] # noqa: B018 - the point of the test


@pytest.mark.parametrize("dotted", STABLE)
def test_the_stable_names_take_what_the_plan_says(dotted: str) -> None:
    parameters = inspect.signature(resolved(dotted)).parameters  # type: ignore[arg-type] # all are callable
    positional = [name for name, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    wanted = STABLE[dotted].split()
    assert set(wanted) <= set(parameters)
    required = [
        n for n, p in parameters.items() if p.default is inspect.Parameter.empty and p.kind not in (2, 4)
    ]
    assert positional[: len(required)] == wanted[: len(required)]
    assert set(required) <= set(wanted)
    defaults = {name: parameters[name].default for name in DEFAULTS.get(dotted, {})}
    assert defaults == DEFAULTS.get(dotted, {})


def test_the_lazy_table_and_the_types_of_the_face_agree() -> None:
    tree = ast.parse(inspect.getsource(d2n))
    checking = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in checking.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == d2n._HOMES
    assert {*typed, "__version__"} == set(d2n.__all__)
