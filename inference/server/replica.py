"""A replica of the server: the app with models and an engine of its own, in an actor of Ray Serve."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI

from ..answer import open_checkpoint
from .app import build_app
from .run_server import Serving


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from, and how it is loaded: the arguments of `answer.open_checkpoint`."""

    source: str
    dtype: str = "auto"
    device: str = "auto"
    compiled: bool = False


class Replica:
    """One of several processes that serve the same models; Ray calls its methods by their names.

    Args:
        models: by the names under which they are served.
        serving: how; limits hold in each replica.
        name: told in /metrics, which are those of one replica.
    """

    def __init__(self, models: Mapping[str, ModelSource], serving: Serving, name: str | None = None) -> None:
        checkpoints = {name: open_checkpoint(**vars(model)) for name, model in models.items()}
        self.server = build_app(checkpoints, serving.limits, serving.access)
        self.server.state.service.metrics.labels = {"replica": _own_name() if name is None else name}

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the app that answers requests."""
        return self.server

    def check_health(self) -> None:
        """Raise RuntimeError where the engine does not run, so that Ray starts another replica."""
        if not self.server.state.service.engine.is_alive:
            raise RuntimeError("The engine has stopped.")


def _own_name() -> str:
    from ray import serve

    return serve.get_replica_context().replica_id.unique_id
