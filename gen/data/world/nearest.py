"""Nearest labelled examples in the space where classes differ most (LDA, then k neighbours)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NearestExamples:
    """Examples [E, D] projected to [E, K], their labels [E], and the projection."""

    mean: NDArray[np.float64]
    projection: NDArray[np.float64]
    examples: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: int
    neighbours: int = 15

    @staticmethod
    def fit(features: NDArray, labels: NDArray, classes: int, ridge: float) -> NearestExamples:
        """Whiten by the within-class scatter of features [E, D] (plus ridge, relative to its mean
        variance) and keep the classes - 1 directions between the class means."""
        x = np.asarray(features, np.float64)
        mean = x.mean(0)
        x = x - mean
        centres = np.stack([x[labels == c].mean(0) for c in range(classes)])
        within = x - centres[labels]
        scatter = within.T @ within / len(x)
        scatter += ridge * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
        values, vectors = np.linalg.eigh(scatter)
        whiten = vectors / np.sqrt(values)
        _, _, directions = np.linalg.svd(centres @ whiten, full_matrices=False)
        projection = whiten @ directions[: classes - 1].T
        return NearestExamples(mean, projection, x @ projection, np.asarray(labels), classes)

    def scores(self, features: NDArray) -> NDArray[np.float64]:
        """Share of each class among the neighbours of features [Q, D], nearer ones counting more:
        [Q, classes], rows sum to 1."""
        q = (np.atleast_2d(features) - self.mean) @ self.projection
        distance = ((q[:, None] - self.examples[None]) ** 2).sum(-1)
        index = np.argpartition(distance, self.neighbours, axis=1)[:, : self.neighbours]
        near = np.take_along_axis(distance, index, 1)
        weight = 1 / (near + near.mean(1, keepdims=True) * 0.1 + 1e-9)
        out = np.full((len(q), self.classes), 1e-3)
        for c in range(self.classes):
            out[:, c] += (weight * (self.labels[index] == c)).sum(1)
        return out / out.sum(1, keepdims=True)
