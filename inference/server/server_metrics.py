"""Counters and times for Prometheus, which /metrics tells; in a registry of the server's own."""

import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .engine_thread import EngineThread
from .written_answer import WrittenAnswer

PREFIX = "planned_diffusion"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class EngineGauges(Collector):
    """Gauges of the engine, read when they are asked for."""

    def __init__(self, engine: EngineThread) -> None:
        self.engine = engine

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges, by model."""
        answers = GaugeMetricFamily(f"{PREFIX}_answers", "Answers in the engine, running or waiting.", labels=["model"])
        slots = GaugeMetricFamily(f"{PREFIX}_cache_slots", "Slots of the cache that are taken.", labels=["model"])
        forwards = GaugeMetricFamily(f"{PREFIX}_forwards", "Forwards run since the start.", labels=["model"])
        for name, engine in self.engine.engines.items():
            answers.add_metric([name], len(engine))
            slots.add_metric([name], engine.slots)
            forwards.add_metric([name], engine.forwards)
        return answers, slots, forwards


class Metrics:
    """The counters of a server.

    Args:
        engine: its gauges are told as well.

    Attributes:
        labels: of every sample, where several processes serve.
    """

    def __init__(self, engine: EngineThread) -> None:
        self.labels: Mapping[str, str] = {}
        self.registry = CollectorRegistry()
        self.registry.register(EngineGauges(engine))
        self.responses = count_of_responses(self.registry)
        self.answers = Counter(
            f"{PREFIX}_answers_ended", "Answers by their end.", ["model", "end"], registry=self.registry
        )
        self.tokens = Counter(
            f"{PREFIX}_tokens", "Tokens of prompts, texts and plans.", ["model", "kind"], registry=self.registry
        )
        self.waiting = Histogram(
            f"{PREFIX}_queue_seconds",
            "Seconds from a request to its first forward.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.seconds = Histogram(
            f"{PREFIX}_answer_seconds",
            "Seconds from a request to the end of an answer.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def count_answer(self, answer: WrittenAnswer, started: float, dropped: bool) -> None:
        """Count an answer that has ended, failed or was dropped; `started` is a time of `time.monotonic`."""
        model = answer.model.name
        end = "dropped" if dropped else answer.finish_reason or "failed"
        self.answers.labels(model, end).inc()
        for kind, count in (
            ("prompt", len(answer.request.prompt_ids)),
            ("text", answer.counts.text),
            ("plan", max(0, answer.counts.plan)),
        ):
            self.tokens.labels(model, kind).inc(count)
        if answer.first_forward_at is not None:
            self.waiting.labels(model).observe(answer.first_forward_at - started)
        if not dropped:
            self.seconds.labels(model).observe(time.monotonic() - started)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(Labelled(self.registry, self.labels))


class Labelled(Collector):
    """Metrics with further labels.

    Args:
        collector: tells them.
        labels: that every sample has beside its own.
    """

    def __init__(self, collector: Collector, labels: Mapping[str, str]) -> None:
        self.collector, self.labels = collector, labels

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self.collector.collect():
            metric.samples = [sample._replace(labels={**sample.labels, **self.labels}) for sample in metric.samples]
            yield metric


def count_of_responses(registry: CollectorRegistry) -> Counter:
    """Return a counter of responses in a registry."""
    return Counter(f"{PREFIX}_responses", "Responses by path and status.", ["path", "status"], registry=registry)


class CountResponses:
    """The middleware that counts responses by path and status; paths that there are none of count as one."""

    def __init__(self, app: ASGIApp, responses: Counter) -> None:
        self.app, self.responses = app, responses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count the status of its response."""

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                self.responses.labels(getattr(route, "path", "other"), str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, count if scope["type"] == "http" else send)
