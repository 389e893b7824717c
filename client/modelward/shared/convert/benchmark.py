"""Convert benchmarks of models between dataclasses and messages."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from modelward.comparison import BatchBenchmark, DurationEstimate, ModelBenchmark
from modelward.shared.convert.common import ref_from_proto, ref_to_proto, span_from_proto, span_to_proto
from modelward.v1 import comparison_pb2 as pb


def benchmark_to_proto(benchmark: ModelBenchmark) -> pb.ModelBenchmark:
    return pb.ModelBenchmark(
        version=ref_to_proto(benchmark.version),
        load_time=_to_span(benchmark.load_seconds),
        size_bytes=benchmark.size_bytes,
        peak_memory_bytes=benchmark.peak_memory_bytes,
        batches=map(_batch_to_proto, benchmark.batches),
        failure=benchmark.failure,
    )


def benchmark_from_proto(message: pb.ModelBenchmark) -> ModelBenchmark:
    return ModelBenchmark(
        version=ref_from_proto(message.version),
        load_seconds=_from_span(message.load_time),
        size_bytes=message.size_bytes,
        peak_memory_bytes=message.peak_memory_bytes,
        batches=tuple(map(_batch_from_proto, message.batches)),
        failure=message.failure,
    )


def _batch_to_proto(batch: BatchBenchmark) -> pb.BatchBenchmark:
    return pb.BatchBenchmark(
        batch_rows=batch.batch_rows,
        calls=batch.calls,
        p50=_estimate_to_proto(batch.p50),
        p95=_estimate_to_proto(batch.p95),
        p99=_estimate_to_proto(batch.p99),
        rows_per_second=batch.rows_per_second,
    )


def _batch_from_proto(message: pb.BatchBenchmark) -> BatchBenchmark:
    return BatchBenchmark(
        batch_rows=message.batch_rows,
        calls=message.calls,
        p50=_estimate_from_proto(message.p50),
        p95=_estimate_from_proto(message.p95),
        p99=_estimate_from_proto(message.p99),
        rows_per_second=message.rows_per_second,
    )


def _estimate_to_proto(estimate: DurationEstimate) -> pb.DurationEstimate:
    return pb.DurationEstimate(value=_to_span(estimate.value), low=_to_span(estimate.low), high=_to_span(estimate.high))


def _estimate_from_proto(message: pb.DurationEstimate) -> DurationEstimate:
    return DurationEstimate(_from_span(message.value), _from_span(message.low), _from_span(message.high))


def _to_span(seconds: float) -> Duration | None:
    return span_to_proto(timedelta(seconds=seconds))


def _from_span(message: Duration) -> float:
    return span_from_proto(message).total_seconds()
