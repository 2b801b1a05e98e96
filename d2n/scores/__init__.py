"""Scores of generated images and of ranked lists: pure functions on arrays, and feature networks."""

from collections.abc import Mapping

# Every name that evaluate.evaluate computes, in the literature's words. "prd" and "prdc" give several scores.
SCORES: Mapping[str, str] = {
    "fid": "Fréchet Inception distance",
    "kid": "kernel Inception distance",
    "prd": "precision and recall for distributions: prd/f8 and prd/f1_8",
    "prdc": "k-NN precision, recall, density and coverage",
    "precision": "k-NN precision",
    "recall": "k-NN recall",
    "density": "density",
    "coverage": "coverage",
    "ssim": "structural similarity to the aligned target",
    "ms_ssim": "multi-scale structural similarity to the aligned target",
    "diversity": "mean MS-SSIM between random pairs of outputs",
    "is": "Inception Score",
}
