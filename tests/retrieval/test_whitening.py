import numpy as np
import pytest

from d2n.errors import RetrievalError
from d2n.retrieval.whitening import Whitening, apply_whitening, learn_pca_whitening, learn_whitening

RNG = np.random.default_rng(7)


def paired(num_pairs: int = 200, dim: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose halves differ by anisotropic noise."""
    centres = RNG.normal(size=(num_pairs, dim)) * np.linspace(1, 3, dim)
    noise = RNG.normal(size=(num_pairs, dim)) * np.linspace(0.5, 0.05, dim)
    return np.concatenate([centres, centres + noise]), np.arange(num_pairs), np.arange(num_pairs) + num_pairs


def test_pair_differences_become_white() -> None:
    x, queries, positives = paired()
    whitening = learn_whitening(x, queries, positives)
    differences = (x[queries] - x[positives]) @ whitening.projection.T
    assert np.allclose(differences.T @ differences / len(differences), np.eye(6), atol=1e-9)


def test_the_rest_is_decorrelated_largest_first() -> None:
    x, queries, positives = paired()
    whitening = learn_whitening(x, queries, positives)
    y = (x - whitening.mean) @ whitening.projection.T
    scatter = y.T @ y
    assert np.allclose(scatter - np.diag(np.diag(scatter)), 0, atol=1e-6 * scatter.max())
    assert (np.diff(np.diag(scatter)) < 0).all()


def test_the_mean_is_that_of_the_queries() -> None:
    x, queries, positives = paired()
    assert np.allclose(learn_whitening(x, queries, positives).mean, x[queries].mean(axis=0), atol=1e-14)


def test_a_hand_computed_case() -> None:
    # queries (0,0), (2,0); differences (1,0), (0,2), so S = diag(1/2, 2), P0 = diag(sqrt 2, sqrt 1/2); mean (1,0).
    x = np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [2.0, -2.0]])
    whitening = learn_whitening(x, [0, 1], [2, 3])
    # P0 (x - m): (-r,0), (r,0), (-2r,0), (r,-r) with r = sqrt 2; scatter [[14,-2],[-2,2]]
    values, vectors = np.linalg.eigh(np.array([[14.0, -2.0], [-2.0, 2.0]]))
    expected = vectors[:, ::-1].T @ np.diag([np.sqrt(2), np.sqrt(0.5)])
    signs = np.sign((whitening.projection * expected).sum(axis=1, keepdims=True))
    assert np.allclose(whitening.projection, signs * expected, atol=1e-12)
    assert values[0] < values[1]


def test_too_few_pairs_still_whiten() -> None:
    x = RNG.normal(size=(12, 40))
    whitening = learn_whitening(x, [0, 1, 2], [3, 4, 5])
    assert whitening.projection.shape == (40, 40)
    assert np.isfinite(whitening.projection).all()


def test_whitened_rows_have_length_one_and_keep_their_type() -> None:
    x, queries, positives = paired()
    whitening = learn_whitening(x, queries, positives)
    y = apply_whitening(x.astype(np.float32), whitening, dim=3)
    assert y.dtype == np.float32
    assert y.shape == (400, 3)
    assert np.allclose(np.linalg.norm(y, axis=1), 1, atol=1e-4)


def test_apply_is_projection_then_l2_with_eps() -> None:
    whitening = Whitening(mean=np.array([1.0, 0.0]), projection=np.array([[0.0, 2.0], [1.0, 0.0]]))
    y = apply_whitening(np.array([[4.0, 2.0]]), whitening, eps=5.0)
    assert np.allclose(y, [[0.4, 0.3]])  # (4, 3) / (5 + 5)


def test_the_mean_itself_stays_zero() -> None:
    whitening = Whitening(mean=np.ones(3), projection=np.eye(3))
    assert np.array_equal(apply_whitening(np.ones((1, 3)), whitening), np.zeros((1, 3)))


def test_pca_whitening_gives_unit_variances_and_drops_empty_directions() -> None:
    x = RNG.normal(size=(50, 3)) * [5, 2, 1]
    flat = np.concatenate([x, x[:, :1] + x[:, 1:2]], axis=1)  # four columns of rank three
    whitening = learn_pca_whitening(flat)
    y = (flat - whitening.mean) @ whitening.projection.T
    assert whitening.projection.shape == (3, 4)
    assert np.allclose(y.T @ y / 50, np.eye(3), atol=1e-9)


@pytest.mark.parametrize(
    ("queries", "positives", "said"),
    [
        ([], [], "needs pairs"),
        ([0], [1, 2], "needs pairs"),
        ([0], [99], "rows 0 to 99"),
        ([-1], [0], "rows -1"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(queries: list[int], positives: list[int], said: str) -> None:
    with pytest.raises(RetrievalError, match=said):
        learn_whitening(RNG.normal(size=(10, 4)), queries, positives)


def test_bad_descriptors_are_refused() -> None:
    x = np.ones((4, 2))
    x[1, 1] = np.nan
    with pytest.raises(RetrievalError, match="1 of 4 descriptors are not finite"):
        learn_whitening(x, [0], [1])
    with pytest.raises(RetrievalError, match="expected \\(N, D\\)"):
        learn_whitening(np.ones(4), [0], [1])
    with pytest.raises(RetrievalError, match="are equal"):
        learn_pca_whitening(np.ones((4, 2)))


def test_a_dimension_beyond_the_whitening_is_refused() -> None:
    whitening = Whitening(mean=np.zeros(2), projection=np.eye(2))
    with pytest.raises(RetrievalError, match="expected 1 to 2"):
        apply_whitening(np.ones((1, 2)), whitening, dim=3)
    with pytest.raises(RetrievalError, match=r"expected \(N, 2\)"):
        apply_whitening(np.ones((1, 3)), whitening)
