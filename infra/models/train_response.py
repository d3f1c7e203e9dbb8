"""Train the model ``response``: how likely a household redeems a coupon within 28 days.

Writes the model file and the page that evaluates it. The same data gives the same bytes.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path

import click
import duckdb
import numpy as np
import onnx
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from conf.load import load_environment, load_program
from conf.program import Program
from conf.resources import packaged

FIRST_DAY = date(2017, 2, 26)  # the data starts 56 days earlier: from here on no look-back is cut
TRAIN_END = date(2017, 9, 3)  # labels of training days reach into the month that is left out
MONTHS_START = date(2017, 10, 1)
LABEL_DAYS = 28
LAST_DAY = date(2017, 12, 31)
ONE_HOUSEHOLD_IN = 5  # is held out
DECIMALS = 4  # of the weights: hides how machines differ in the last digits of a fit
ROOT = Path(__file__).resolve().parents[2]
MODEL_ID = "response"
BASELINE = "spendLast56Days"

LABELS = """
SELECT f.*, EXISTS (
  FROM coupon_redemptions AS r
  WHERE CAST(r.household_id AS VARCHAR) = f."customerId"
    AND r.redemption_date > f.date AND r.redemption_date <= f.date + CAST($1 AS INTEGER)
) AS redeems
FROM features AS f
WHERE f."recencyDays" IS NOT NULL
  AND f."customerId" IN (SELECT CAST(household_id AS VARCHAR) FROM demographics)
ORDER BY f.date, f."customerId"
"""

Matrix = NDArray[np.float64]
Fitted = tuple[Matrix, float]


def labelled_days(program: Program) -> pl.DataFrame:
    """Return features and label of every household-day whose label can be known."""
    assert program.features is not None
    end = LAST_DAY - timedelta(days=LABEL_DAYS - 1)
    with duckdb.connect() as database:
        for name, address in load_environment("local").warehouse.tables.items():
            database.read_parquet(str(packaged(address))).create_view(name)
        features = database.sql(program.features.query, params=[FIRST_DAY, end]).to_arrow_table()
        database.register("features", features)
        return pl.DataFrame(database.sql(LABELS, params=[LABEL_DAYS]).to_arrow_table())


def is_held_out(customer: str) -> bool:
    """Tell whether a household is kept from training, by a hash of its id."""
    return int(hashlib.sha256(customer.encode()).hexdigest(), 16) % ONE_HOUSEHOLD_IN == 0


def split(days: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Cut household-days into training, other households, later months, and both at once."""
    other = pl.Series([is_held_out(customer) for customer in days["customerId"]])
    early, late = days["date"] < TRAIN_END, days["date"] >= MONTHS_START
    return {
        "train": days.filter(early & ~other),
        "held-out households": days.filter(early & other),
        "held-out months": days.filter(late),
        "held-out households in held-out months": days.filter(late & other),
    }


def fit(days: pl.DataFrame, features: tuple[str, ...]) -> Fitted:
    """Return weights and intercept of a logistic regression on log(1 + feature), rounded."""
    logs = np.log1p(days.select(features).to_numpy())
    scaler = StandardScaler().fit(logs)
    regression = LogisticRegression(solver="newton-cholesky", tol=1e-10)
    regression.fit(scaler.transform(logs), days["redeems"].to_numpy())
    weights = regression.coef_[0] / scaler.scale_
    intercept = regression.intercept_[0] - weights @ scaler.mean_
    return np.round(weights, DECIMALS), float(np.round(intercept, DECIMALS))


def probabilities(days: pl.DataFrame, features: tuple[str, ...], fitted: Fitted) -> Matrix:
    """Return what the fitted model says of each row."""
    weights, intercept = fitted
    logit = np.log1p(days.select(features).to_numpy()) @ weights + intercept
    return np.asarray(1 / (1 + np.exp(-logit)))


def onnx_bytes(weights: Matrix, intercept: float) -> bytes:
    """Return the model file: (rows, features) float32 to one float32 probability a row."""
    constants = {
        "one": np.array(1, dtype=np.float32),
        "weights": weights.astype(np.float32),
        "intercept": np.array(intercept, dtype=np.float32),
    }
    steps = [
        ("Add", ["features", "one"], "raised"),
        ("Log", ["raised"], "logs"),
        ("MatMul", ["logs", "weights"], "weighted"),
        ("Add", ["weighted", "intercept"], "logit"),
        ("Sigmoid", ["logit"], "probability"),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps],
        MODEL_ID,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(weights)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="muster", ir_version=9, opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def quality(days: pl.DataFrame, scores: Matrix) -> dict[str, float]:
    """Return what the page says of one set: ranking, log loss, and the mean score."""
    redeems = days["redeems"].to_numpy()
    return {
        "auc": roc_auc_score(redeems, scores),
        "log_loss": log_loss(redeems, scores),
        "mean": float(scores.mean()),
    }


def deciles(days: pl.DataFrame, scores: Matrix) -> list[dict[str, float]]:
    """Return mean score and share that redeems in ten equal parts of the set, by score."""
    part = (pl.col("score").rank("ordinal") * 10 - 1) // pl.len() + 1
    return (
        days.with_columns(score=scores)
        .group_by(part.alias("decile"))
        .agg(pl.len().alias("days"), pl.col("score").mean(), pl.col("redeems").mean())
        .sort("decile")
        .to_dicts()
    )


def evaluation(days: pl.DataFrame, features: tuple[str, ...]) -> tuple[Fitted, dict[str, object]]:
    """Return the model fitted on the training set, and what the page says of it."""
    sets = split(days)
    train = sets["train"]
    fitted, baseline = fit(train, features), fit(train, (BASELINE,))
    base_rate = float(train["redeems"].mean())  # type: ignore[arg-type]
    rows = []
    for name, part in sets.items():
        scores = probabilities(part, features, fitted)
        rows.append(
            {
                "name": name,
                "days": part.height,
                "households": part["customerId"].n_unique(),
                "redeemers": part.filter("redeems")["customerId"].n_unique(),
                "rate": part["redeems"].mean(),
                "model": quality(part, scores),
                "baseline": quality(part, probabilities(part, (BASELINE,), baseline)),
                "constant": log_loss(part["redeems"], np.full(part.height, base_rate)),
                "deciles": deciles(part, scores),
            }
        )
    scores = probabilities(days, features, fitted)
    quantiles = {f"{q:.0%}": float(np.quantile(scores, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    weights = dict(zip(features, fitted[0].tolist(), strict=True))
    said = {"sets": rows, "weights": weights, "intercept": fitted[1], "quantiles": quantiles}
    return fitted, said


def page(said: dict[str, object]) -> str:
    """Return the page about the model."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,
    )
    names = ("FIRST_DAY", "TRAIN_END", "MONTHS_START", "LABEL_DAYS", "LAST_DAY", "BASELINE")
    settings = {name.lower(): globals()[name] for name in names}
    return templates.get_template("response.md.jinja").render(**said, **settings)


@click.command(epilog="Example: python infra/models/train_response.py --model /tmp/response.onnx")
@click.option(
    "--model",
    type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "conf/models/response.onnx",
    help="Where the model file goes (default: the one that programs use).",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "docs/models/response.md",
    help="Where the page about it goes (default: docs/models/response.md).",
)
def main(model: Path, report: Path) -> None:
    """Train the model `response` on The Complete Journey and evaluate it.

    Needs the extra "train". Takes a few seconds; the same data gives the same bytes.
    """
    program = load_program("product-reviews")
    features = next(m.features for m in program.scoring_models if m.model_id == MODEL_ID)
    fitted, said = evaluation(labelled_days(program), features)
    for place in (model, report):
        place.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(onnx_bytes(*fitted))
    report.write_text(page(said), encoding="utf-8")
    click.echo(f"wrote {model} and {report}")


if __name__ == "__main__":
    main()
