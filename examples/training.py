"""Real models for the examples: three classifiers on the breast-cancer data that scikit-learn ships.

Each is a pipeline with its preprocessing, exported whole to one ONNX file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

SEED = 7
HOLDOUT_SHARE = 0.3
# Of the spread of each input.
NOISE = 0.4


@dataclass(frozen=True)
class Data:
    """The data, split once; `digest` names all of its bytes."""

    train_inputs: np.ndarray
    train_labels: np.ndarray
    holdout_inputs: np.ndarray
    holdout_labels: np.ndarray
    digest: str


@dataclass(frozen=True)
class Trained:
    """A trained classifier, as files in a directory."""

    name: str
    directory: Path
    parameters: dict[str, str | int | float | bool]
    metrics: dict[str, float]
    predictions: np.ndarray


def load() -> Data:
    """Load and split the data."""
    inputs, labels = load_breast_cancer(return_X_y=True)
    inputs = inputs.astype(np.float32)
    digest = hashlib.sha256(inputs.tobytes() + labels.tobytes()).hexdigest()
    parts = train_test_split(inputs, labels, test_size=HOLDOUT_SHARE, random_state=SEED, stratify=labels)
    train_inputs, holdout_inputs, train_labels, holdout_labels = parts
    return Data(train_inputs, train_labels, holdout_inputs, holdout_labels, f"sha256:{digest}")


def classifiers() -> dict[str, Any]:
    """Return the three classifiers, untrained."""
    return {
        "logistic-regression": LogisticRegression(C=0.5, max_iter=500, random_state=SEED),
        "random-forest": RandomForestClassifier(n_estimators=60, max_depth=6, random_state=SEED),
        "gradient-boosting": GradientBoostingClassifier(n_estimators=80, max_depth=2, random_state=SEED),
    }


def successors() -> dict[str, Any]:
    """Return two classifiers that come later: one that is worse, and one that sounds fewer false alarms."""
    return {
        "decision-stump": DecisionTreeClassifier(max_depth=1, random_state=SEED),
        "careful-regression": LogisticRegression(C=0.5, class_weight={0: 4, 1: 1}, max_iter=500),
    }


def train(name: str, classifier: Any, data: Data, directory: Path) -> Trained:
    """Train one classifier, measure it on the hold-out data, and write its files."""
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(data.train_inputs, data.train_labels)
    directory.mkdir(parents=True)
    model = to_onnx(pipeline, data.train_inputs[:1], options={"zipmap": False})
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    metrics = scores(data.holdout_labels, pipeline.predict(data.holdout_inputs), dataset="holdout")
    parameters = {
        key: value
        for key, value in classifier.get_params().items()
        if isinstance(value, str | int | float | bool)
    }
    return Trained(
        name, directory, parameters, metrics, predict(directory / "model.onnx", data.holdout_inputs)
    )


def noisy(data: Data) -> Data:
    """Return the data as worse instruments would have measured the hold-out part, the same each time."""
    random = np.random.default_rng(SEED)
    spread = data.train_inputs.std(axis=0)
    noise = random.normal(scale=NOISE, size=data.holdout_inputs.shape) * spread
    inputs = (data.holdout_inputs + noise).astype(np.float32)
    digest = hashlib.sha256(inputs.tobytes() + data.holdout_labels.tobytes()).hexdigest()
    return replace(data, holdout_inputs=inputs, digest=f"sha256:{digest}")


def measure(model: Path, data: Data, *, dataset: str) -> dict[str, float]:
    """Measure an ONNX file on the hold-out part of the data."""
    return scores(data.holdout_labels, predict(model, data.holdout_inputs), dataset=dataset)


def scores(labels: np.ndarray, predicted: np.ndarray, *, dataset: str) -> dict[str, float]:
    """Return the metrics of predictions, by their text."""
    return {
        f"precision@{dataset}": float(precision_score(labels, predicted)),
        f"recall@{dataset}": float(recall_score(labels, predicted)),
        f"f1@{dataset}": float(f1_score(labels, predicted)),
    }


def predict(model: Path, inputs: np.ndarray) -> np.ndarray:
    """Run an ONNX file with onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (labels, *_) = session.run(None, {session.get_inputs()[0].name: inputs})
    return np.asarray(labels)
