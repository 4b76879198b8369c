"""`planned-diffusion serve`: an OpenAI-compatible server of one or several checkpoints."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .model_names import checkpoint_of
from .options import Debug, quiet
from .server_options import ENGINE_KEY_VARIABLE, KEY_VARIABLE, Bounds, Elsewhere, Listening, Sources, Weights

if TYPE_CHECKING:
    from ..inference.answer import Checkpoint
    from ..inference.server.run_server import Address, Serving


def serve(
    weights: Weights,
    listening: Listening,
    bounds: Bounds,
    elsewhere: Elsewhere,
    sources: Sources,
    debug: Debug = False,
) -> None:
    """Start an OpenAI-compatible server, of models of this package or in front of another engine.

    Requests of all clients share the forwards of a model. docs/usage.md describes the API.
    """
    from importlib.util import find_spec

    libraries = ("fastapi", "uvicorn", "prometheus_client", *(["openai"] if elsewhere.engine else []))
    lacking = [name for name in libraries if find_spec(name) is None]
    if lacking:
        raise RuntimeError(f"Serving needs {', '.join(lacking)}; run pip install 'planned-diffusion[serve]'.")
    given = [*([sources.source] if sources.source else []), *(sources.model or [])]
    named = named_sources(given)
    serving = serving_of(listening, bounds)
    scaled = next((name for name in ("replicas", "ray") if getattr(sources, name) is not None), None)
    if elsewhere.engine is not None:
        if scaled:
            raise ValueError(
                f"There are --engine and --{scaled}, and only models of ours have replicas; leave one out."
            )
        serve_in_front(elsewhere, serving, named if given else {}, weights, debug)
        return
    unused = next((name for name in ("engine_model", "engine_key_file") if getattr(elsewhere, name)), None)
    if unused:
        raise ValueError(f"There is --{unused.replace('_', '-')} without an engine; give --engine URL.")
    paths = {name: checkpoint_of(path, debug) for name, path in named.items()}
    if scaled:
        serve_by_replicas(sources, serving, paths, weights, debug)
        return
    quiet(debug)
    from ..inference.server.run_server import run_server

    checkpoints = {name: opened(path, weights) for name, path in paths.items()}
    print(f"Serving {', '.join(checkpoints)} on http://{listening.host}:{listening.port}/v1", flush=True)
    run_server(checkpoints, serving)


def serve_in_front(
    elsewhere: Elsewhere, serving: "Serving", named: dict[str, str | None], weights: Weights, debug: bool
) -> None:
    """Serve in front of another engine.

    Args:
        named: the model that plans, by its name; none where the engine's does.

    Raises:
        ValueError: several models, or an engine that cannot be used.
    """
    if len(named) > 1:
        raise ValueError(f"There are {len(named)} models, and with --engine one of them plans; give one or none.")
    planners = [checkpoint_of(path, debug) for path in named.values()]
    quiet(debug)
    from ..inference.front.engine_client import EngineAddress
    from ..inference.front.front_app import Front, run_front

    key = key_in(elsewhere.engine_key_file) if elsewhere.engine_key_file else os.environ.get(ENGINE_KEY_VARIABLE)
    address = EngineAddress(
        elsewhere.engine or "",
        key,
        elsewhere.engine_seconds,
        elsewhere.engine_retries,
        tuple(elsewhere.engine_model or ()),
    )
    planner = next((opened(path, weights) for path in planners), None)
    who = f"plans by {', '.join(named)}" if named else "plans by its model"
    at = f"http://{serving.address.host}:{serving.address.port}/v1"
    print(f"Serving the engine {address.url}, {who}, on {at}", flush=True)
    run_front(Front(address, planner), serving)


def serve_by_replicas(
    sources: Sources, serving: "Serving", paths: dict[str, str], weights: Weights, debug: bool
) -> None:
    """Serve models by several processes, on Ray.

    Args:
        paths: of the models, by their names.
    """
    from ..inference.ray_cluster import Wanted

    wanted = Wanted("replicas", sources.replicas, weights.device, sources.ray)
    quiet(debug)
    from ..inference.server.ray_serving import run_replicas
    from ..inference.server.replica import ModelSource

    models = {name: ModelSource(path, **vars(weights)) for name, path in paths.items()}

    def tell(count: int, address: "Address") -> None:
        at = f"http://{address.host}:{address.port}/v1"
        print(f"Serving {', '.join(models)} on {at} by {count} replica{'s' * (count > 1)}", flush=True)

    run_replicas(models, serving, wanted, tell)


def opened(source: str, weights: Weights) -> "Checkpoint":
    """Load a checkpoint."""
    from ..inference.answer import open_checkpoint

    return open_checkpoint(source, weights.dtype, weights.device, weights.compiled)


def named_sources(given: Sequence[str]) -> dict[str, str | None]:
    """Return the checkpoints by the names under which they are served; None stands for the included one.

    Without a name of its own a repository is served as owner/name, and a folder under its last name.

    Raises:
        ValueError: an empty name, or one that is given twice.
    """
    sources: dict[str, str | None] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            path, name = text, Path(text).expanduser().resolve().name if Path(text).expanduser().exists() else text
        if not name.strip() or not path.strip():
            raise ValueError(f"--model is {text!r}; give NAME=PATH.")
        if name in sources:
            raise ValueError(f"Two models would be served as {name}; give one another name, as --model NAME=PATH.")
        sources[name] = path
    return sources or {"facts": None}


def serving_of(listening: Listening, bounds: Bounds) -> "Serving":
    """Return how to serve, checked before anything is loaded.

    Raises:
        ValueError: a bound, key, host or port that cannot be used.
    """
    from ..inference.server.limits import Access, Limits
    from ..inference.server.run_server import Address, Serving

    access = Access(_key(listening), tuple(listening.allow_host or ()), tuple(listening.allow_origin or ()))
    return Serving(Address(listening.host, listening.port), Limits(**vars(bounds)), access)


def _key(listening: Listening) -> str | None:
    if listening.api_key_file is None:
        return listening.api_key
    if listening.api_key is not None and KEY_VARIABLE not in os.environ:
        raise ValueError("There are --api-key and --api-key-file; give one of them.")
    return key_in(listening.api_key_file)


def key_in(file: Path) -> str:
    """Return the key that a file holds.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The key file {file} cannot be read ({error}); give another one.") from error
