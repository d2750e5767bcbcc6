"""What a graph says of each class, as probabilities."""

import numpy as np

from deployer.server.signature import Array

ACTIVATIONS = ("auto", "softmax", "sigmoid", "none")


def probabilities(scores: Array, activation: str = "auto") -> Array:
    """Scores [n] as probabilities; `auto` takes those that sum to one for such, others for logits."""
    scores = np.asarray(scores, np.float64)
    if activation == "auto":
        ready = scores.min() >= 0 and abs(float(scores.sum()) - 1) < 1e-3
        activation = "none" if ready else "softmax"
    if activation == "softmax":
        powers = np.exp(scores - scores.max())
        return np.asarray(powers / powers.sum())
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    return scores
