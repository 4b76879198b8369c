"""Counters for Prometheus of a server in front of another engine, which /metrics tells."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..server.server_metrics import PREFIX, count_of_responses
from .turns import Turns


class TurnGauges(Collector):
    """Gauges of the requests to the engine, read when they are asked for."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        running = GaugeMetricFamily(f"{PREFIX}_engine_requests", "Requests that run at the engine.")
        waiting = GaugeMetricFamily(f"{PREFIX}_engine_requests_waiting", "Requests that wait for their turn.")
        running.add_metric([], self.turns.running.total())
        waiting.add_metric([], len(self.turns))
        return running, waiting


class FrontMetrics:
    """The counters of a server in front of another engine.

    Args:
        turns: its gauges are told as well.
    """

    def __init__(self, turns: Turns) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(TurnGauges(turns))
        self.responses = count_of_responses(self.registry)
        self.outlines = Counter(
            f"{PREFIX}_outlines",
            "Outlines by their end: parts, plain (a single writer), broken (no outline).",
            ["end"],
            registry=self.registry,
        )

    def count_outline(self, end: str) -> None:
        """Count an outline that was asked for."""
        self.outlines.labels(end).inc()

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
