"""Grouping images by their features: k-means on the sphere, and how well groups match classes."""

import warnings
from typing import NamedTuple

import numpy as np

from maekit.errors import UserError

MOST_FOR_FULL = 20_000  # images; above, k-means learns from small batches
_BATCH, _STARTS = 4096, 4


class Clusters(NamedTuple):
    """The clusters that k-means found.

    `assigned` [N] int64 is each image's cluster, the largest cluster being 0; `distance` [N] float64 its Euclidean
    distance to that centre, 0 to 2.
    """

    assigned: np.ndarray
    distance: np.ndarray

    def members(self, cluster: int) -> np.ndarray:
        """Returns the rows of a cluster, the one nearest its centre first."""
        rows = np.flatnonzero(self.assigned == cluster)
        nearest: np.ndarray = rows[np.argsort(self.distance[rows], kind="stable")]
        return nearest


def find_clusters(features: np.ndarray, num_clusters: int, seed: int) -> Clusters:
    """Runs scikit-learn's k-means, four starts of it; its MiniBatchKMeans for more than 20,000 images.

    Args:
        features: [N, D] float32 of length one.
        num_clusters: 1 to N; clusters that stay empty, as where images are alike, are left out.
        seed: the same one gives the same clusters.

    Raises:
        UserError: more clusters are asked for than there are images.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if not 1 <= num_clusters <= len(features):
        raise UserError(f"--clusters: got {num_clusters}, expected 1 to {len(features)}, the number of images")
    if len(features) <= MOST_FOR_FULL:
        model = KMeans(num_clusters, random_state=seed, n_init=_STARTS)
    else:
        model = MiniBatchKMeans(num_clusters, random_state=seed, n_init=_STARTS, batch_size=_BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct images than clusters: the empty ones are left out below
        raw = model.fit_predict(features)
    distance = np.linalg.norm(features - model.cluster_centers_[raw], axis=1).astype(np.float64)
    found, inverse, counts = np.unique(raw, return_inverse=True, return_counts=True)
    place = np.empty(len(found), dtype=np.int64)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(found))
    return Clusters(place[inverse], distance)


def mutual_information(assigned: np.ndarray, labels: np.ndarray) -> float:
    """Returns the normalised mutual information, 0 to 1, of clusters and labels [N] (arithmetic mean of entropies)."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels, assigned))


def purity(assigned: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of images, 0 to 1, that are of their cluster's most frequent label; it grows with clusters."""
    table = np.zeros((assigned.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(table, (assigned, labels), 1)
    return float(table.max(axis=1).sum() / len(labels))
