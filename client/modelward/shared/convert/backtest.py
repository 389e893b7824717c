"""Convert what is known of a version's selection between dataclasses and messages."""

from __future__ import annotations

from modelward.backtest import Backtest, Overfitting, SelectionOverfitting, SharpeHaircut, ValidationFold
from modelward.v1 import common_pb2 as pb


def overfitting_to_proto(overfitting: Overfitting | None) -> pb.Overfitting | None:
    if overfitting is None:
        return None
    backtest = overfitting.backtest
    return pb.Overfitting(trials=overfitting.trials, backtest=backtest_to_proto(backtest) if backtest else None)


def overfitting_from_proto(message: pb.Overfitting) -> Overfitting:
    return Overfitting(message.trials, backtest_from_proto(message.backtest) if message.HasField("backtest") else None)


def backtest_to_proto(backtest: Backtest) -> pb.Backtest:
    return pb.Backtest(
        chosen=backtest.chosen,
        rows=backtest.rows,
        periods_per_year=backtest.periods_per_year,
        sharpe=backtest.sharpe,
        probabilistic_sharpe=backtest.probabilistic_sharpe,
        minimum_rows=backtest.minimum_rows,
        deflated_sharpe=backtest.deflated_sharpe,
        expected_by_luck=backtest.expected_by_luck,
        haircuts=[pb.SharpeHaircut(**vars(haircut)) for haircut in backtest.haircuts],
        selection=selection_to_proto(backtest.selection) if backtest.selection else None,
    )


def backtest_from_proto(message: pb.Backtest) -> Backtest:
    return Backtest(
        chosen=message.chosen,
        rows=message.rows,
        periods_per_year=message.periods_per_year,
        sharpe=message.sharpe,
        probabilistic_sharpe=message.probabilistic_sharpe,
        minimum_rows=message.minimum_rows if message.HasField("minimum_rows") else None,
        deflated_sharpe=message.deflated_sharpe,
        expected_by_luck=message.expected_by_luck,
        haircuts=tuple(SharpeHaircut(one.method, one.p_value, one.sharpe) for one in message.haircuts),
        selection=selection_from_proto(message.selection) if message.HasField("selection") else None,
    )


def selection_to_proto(selection: SelectionOverfitting) -> pb.SelectionOverfitting:
    return pb.SelectionOverfitting(
        blocks=selection.blocks,
        probability=selection.probability,
        logits=[pb.LogitCount(logit=logit, splits=splits) for logit, splits in selection.logits.items()],
        slope=selection.slope,
        loss_probability=selection.loss_probability,
    )


def selection_from_proto(message: pb.SelectionOverfitting) -> SelectionOverfitting:
    return SelectionOverfitting(
        blocks=message.blocks,
        probability=message.probability,
        logits={one.logit: one.splits for one in message.logits},
        slope=message.slope,
        loss_probability=message.loss_probability,
    )


def fold_to_proto(fold: ValidationFold) -> pb.ValidationFold:
    return pb.ValidationFold(**vars(fold))


def fold_from_proto(message: pb.ValidationFold) -> ValidationFold:
    return ValidationFold(
        name=message.name,
        metrics=dict(sorted(message.metrics.items())),
        train_rows=message.train_rows,
        test_rows=message.test_rows,
        train_from=message.train_from,
        train_until=message.train_until,
        test_from=message.test_from,
        test_until=message.test_until,
    )
