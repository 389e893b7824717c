"""Train a model, register it, and ask for its promotion to production.

While `modelward serve` runs:

    python examples/python/trainer.py spx-trend

The promotion goes through the gates of the model's promotion policy. When one of them fails, the version stays in
staging, each failed gate is printed with its evidence, and the exit code is 1.
"""

import argparse
import sys

from market import as_rows, simulated_days
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from modelward import Client, ModelVersion
from modelward.errors import GatesFailed


def train(mw: Client, model: str, strength: float, seed: int) -> ModelVersion:
    """Fit a classifier, measure it on days that it has not seen, and register it with its training data."""
    features, label = simulated_days(1000, seed)
    unseen, outcome = simulated_days(500, seed + 1)
    classifier = LogisticRegression(C=strength).fit(as_rows(features), label)
    probabilities = classifier.predict_proba(as_rows(unseen))
    return mw.register(
        model,
        classifier,
        metrics={
            "accuracy": float(accuracy_score(outcome, probabilities.argmax(axis=1))),
            "log_loss": float(log_loss(outcome, probabilities)),
        },
        tags={"desk": "index"},
        description=f"Logistic regression with C={strength:g}.",
        reference=features,  # Live rows are later compared with these.
    )


def promote(mw: Client, version: ModelVersion) -> bool:
    """Move a version to production, and return whether the gates allowed it."""
    mw.promote(version, to="staging")
    try:
        moved = mw.promote(version, to="production", reason="the regular training")
    except GatesFailed as error:
        for gate in error.gates:
            print(f"{gate.gate} failed: {gate.evidence}")
        return False
    print(f"{version} is in production" + (f" in place of {moved.archived}" if moved.archived else ""))
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a model and ask for its promotion.")
    parser.add_argument("model")
    parser.add_argument("--server", default="localhost:50061")
    parser.add_argument("--strength", type=float, default=1.0, help="inverse of the regularization")
    parser.add_argument("--seed", type=int, default=7, help="of the simulated days")
    given = parser.parse_args()
    with Client(given.server, actor="trainer") as mw:
        version = train(mw, given.model, given.strength, given.seed)
        print(f"registered {version} with accuracy {version.metrics['accuracy']:.3f}")
        return 0 if promote(mw, version) else 1


if __name__ == "__main__":
    sys.exit(main())
