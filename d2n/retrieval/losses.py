"""Losses of tuples: a query against each other image of its tuple.

Contrastive: Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, equation 4.
Multi-similarity: Wang et al., "Multi-Similarity Loss with General Pair Weighting", CVPR 2019, equation 15.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

QUERY, POSITIVE, NEGATIVE = -1, 1, 0  # the labels of a tuple's images


def contrastive_loss(descriptors: Tensor, labels: Tensor, margin: float, eps: float = 1e-6) -> Tensor:
    """Sum over all (query, other) pairs of 1/2 y D^2 + 1/2 (1 - y) max(0, margin - D)^2.

    descriptors: (N, D); labels: (N,), -1 starts a tuple (its query), 1 is a positive, 0 a negative;
    D = sqrt(sum (q - x + eps)^2). Tuples may differ in length. Returns a scalar.
    Raises ValueError when the first label is not -1 or shapes do not fit.
    """
    labels = labels.to(descriptors.device)
    _refuse_misfits(descriptors, labels)
    starts = labels == QUERY
    queries = descriptors[starts]  # (T, D)
    tuple_of = torch.cumsum(starts.long(), dim=0) - 1  # (N,): which tuple an image belongs to
    distances = pair_distances(queries[tuple_of[~starts]], descriptors[~starts], eps)
    return _pair_losses(distances, labels[~starts] == POSITIVE, margin).sum()


def tuple_contrastive_loss(descriptors: Tensor, margin: float, eps: float = 1e-6) -> Tensor:
    """contrastive_loss of tuples of equal length, without label bookkeeping.

    descriptors: (T, 2 + K, D), ordered query, positive, K negatives. Returns a scalar.
    """
    if descriptors.ndim != 3 or descriptors.shape[1] < 2:
        raise ValueError(f"descriptors are {tuple(descriptors.shape)}, expected (tuples, 2 + negatives, dim)")
    distances = pair_distances(descriptors[:, :1], descriptors[:, 1:], eps)  # (T, 1 + K)
    positive = torch.zeros_like(distances, dtype=torch.bool)
    positive[:, 0] = True
    return _pair_losses(distances, positive, margin).sum()


def multi_similarity_loss(
    descriptors: Tensor, labels: Tensor, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5
) -> Tensor:
    """Sum over queries of log(1 + sum_pos e^(-alpha (s - base))) / alpha + log(1 + sum_neg e^(beta (s - base))) / beta.

    descriptors: (N, D) of length 1, s their dot product with the query; labels as contrastive_loss has them. The tuples
    are mined already: no pair is left out. Returns a scalar.
    """
    labels = labels.to(descriptors.device)
    _refuse_misfits(descriptors, labels)
    starts = [*(labels == QUERY).nonzero().flatten().tolist(), len(labels)]
    total = descriptors.new_zeros(())
    for first, last in itertools.pairwise(starts):
        similar = descriptors[first + 1 : last] @ descriptors[first]
        positive = labels[first + 1 : last] == POSITIVE
        total = total + _multi_similarity(similar[None], positive[None], alpha, beta, base)
    return total


def tuple_multi_similarity_loss(
    descriptors: Tensor, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5
) -> Tensor:
    """multi_similarity_loss of tuples of equal length: (T, 2 + K, D), ordered query, positive, K negatives."""
    if descriptors.ndim != 3 or descriptors.shape[1] < 2:
        raise ValueError(f"descriptors are {tuple(descriptors.shape)}, expected (tuples, 2 + negatives, dim)")
    similar = (descriptors[:, :1] * descriptors[:, 1:]).sum(dim=-1)  # (T, 1 + K)
    positive = torch.zeros_like(similar, dtype=torch.bool)
    positive[:, 0] = True
    return _multi_similarity(similar, positive, alpha, beta, base)


def _multi_similarity(similar: Tensor, positive: Tensor, alpha: float, beta: float, base: float) -> Tensor:
    """(T, K) similarities; log(1 + sum e^x) as the logsumexp with a 0 beside."""
    nothing = similar.new_zeros(len(similar), 1)
    pull = (-alpha * (similar - base)).masked_fill(~positive, -math.inf)
    push = (beta * (similar - base)).masked_fill(positive, -math.inf)
    pulled = torch.logsumexp(torch.cat([nothing, pull], dim=1), dim=1) / alpha
    pushed = torch.logsumexp(torch.cat([nothing, push], dim=1), dim=1) / beta
    return (pulled + pushed).sum()


def pair_distances(queries: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """sqrt(sum (q - x + eps)^2) over the last dimension; eps keeps the gradient of equal vectors finite."""
    return (queries - others + eps).pow(2).sum(dim=-1).sqrt()


def _pair_losses(distances: Tensor, positive: Tensor, margin: float) -> Tensor:
    attract = distances.pow(2)
    repel = (margin - distances).clamp(min=0).pow(2)
    return 0.5 * torch.where(positive, attract, repel)


def _refuse_misfits(descriptors: Tensor, labels: Tensor) -> None:
    if descriptors.ndim != 2 or labels.shape != descriptors.shape[:1]:
        raise ValueError(
            f"descriptors {tuple(descriptors.shape)}, labels {tuple(labels.shape)}: expected (N, D), (N,)"
        )
    if len(labels) and int(labels[0]) != QUERY:
        raise ValueError(
            f"the first label is {int(labels[0])}, expected -1: each tuple begins with its query"
        )
    if not bool(((labels == QUERY) | (labels == POSITIVE) | (labels == NEGATIVE)).all()):
        raise ValueError(f"labels are {sorted(set(labels.tolist()))}, expected -1 (query), 1 and 0 only")
