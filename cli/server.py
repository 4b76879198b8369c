"""`planned-diffusion serve`: an OpenAI-compatible server of one or several checkpoints."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from typer import Argument, Option

from .model_names import checkpoint_of
from .options import Debug, quiet

if TYPE_CHECKING:
    from ..inference.answer import Checkpoint
    from ..inference.server.run_server import Serving

KEY_VARIABLE = "PLANNED_DIFFUSION_API_KEY"
ENGINE_KEY_VARIABLE = "PLANNED_DIFFUSION_ENGINE_KEY"


@dataclass(frozen=True)
class Sources:
    """Checkpoints that are served."""

    source: Annotated[
        str | None, Argument(metavar="[MODEL]", help="Folder or Hub repository of a checkpoint; default: the included.")
    ] = None
    model: Annotated[
        list[str] | None,
        Option(metavar="NAME=PATH", help="Checkpoint or adapter, and the name under which it is served; repeatable."),
    ] = None


@dataclass(frozen=True)
class Listening:
    """Options for where the server listens, and to whom."""

    panel: ClassVar[str] = "Address and access"
    host: Annotated[str, Option(help="Address to listen on; others than this machine's need a key.")] = "127.0.0.1"
    port: Annotated[int, Option(help="Port to listen on; 0: any that is free.")] = 8000
    api_key: Annotated[
        str | None,
        Option(envvar=KEY_VARIABLE, help="Key that clients must send; better in a file or in the environment."),
    ] = None
    api_key_file: Annotated[Path | None, Option(metavar="FILE", help="File that holds the key.")] = None
    allow_host: Annotated[
        list[str] | None, Option(metavar="NAME", help="Name by which clients call the server; repeatable.")
    ] = None
    allow_origin: Annotated[
        list[str] | None, Option(metavar="ORIGIN", help="Web page that may call it, as https://chat.org; repeatable.")
    ] = None


@dataclass(frozen=True)
class Bounds:
    """Options that bound what requests may take; named as in `Limits`."""

    panel: ClassVar[str] = "Limits"
    live: Annotated[int | None, Option(help="Answers that share a forward; default: 32, on a GPU 64.")] = None
    queue: Annotated[int, Option(help="Answers that may wait; more are refused (429).")] = 256
    choices: Annotated[int, Option(help="Answers that one request may ask for.")] = 16
    prompt_tokens: Annotated[int | None, Option(help="Tokens of a prompt, at most; default: what the model takes.")] = (
        None
    )
    answer_tokens: Annotated[int, Option(help="Tokens of an answer, at most.")] = 4096
    body_bytes: Annotated[int, Option(help="Bytes of a request's body, at most.")] = 2 * 2**20
    answer_seconds: Annotated[float, Option(help="Seconds from a request to the end of its answer, at most.")] = 600
    shutdown_seconds: Annotated[
        float, Option(help="Seconds in which running answers may end when the server is stopped.")
    ] = 30


@dataclass(frozen=True)
class Weights:
    """Options for how checkpoints are loaded."""

    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "nf4", "int8"], Option(help="Data type of the weights, as of generate.")
    ] = "auto"
    device: Annotated[str, Option(help="cpu, cuda or cuda:1; auto: the GPU if there is one.")] = "auto"
    compiled: Annotated[bool, Option("--compile", help="Compile the models first, which takes minutes.")] = False


@dataclass(frozen=True)
class Elsewhere:
    """Options for another engine that writes the answers."""

    panel: ClassVar[str] = "In front of another engine"
    engine: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="Let another OpenAI-compatible server write the parts of answers, as http://localhost:8001/v1; MODEL "
            "then plans, or without it the engine's own model.",
        ),
    ] = None
    engine_model: Annotated[
        list[str] | None, Option(metavar="NAME", help="Model of the engine that is served; repeatable; default: all.")
    ] = None
    engine_key_file: Annotated[
        Path | None,
        Option(metavar="FILE", help=f"File that holds the engine's key, which {ENGINE_KEY_VARIABLE} may hold as well."),
    ] = None
    engine_seconds: Annotated[float, Option(help="Seconds that the engine may take for one part.")] = 300
    engine_retries: Annotated[int, Option(help="Times that a request to the engine is repeated.")] = 2


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
    if elsewhere.engine is not None:
        serve_in_front(elsewhere, serving, named if given else {}, weights, debug)
        return
    unused = next((name for name in ("engine_model", "engine_key_file") if getattr(elsewhere, name)), None)
    if unused:
        raise ValueError(f"There is --{unused.replace('_', '-')} without an engine; give --engine URL.")
    paths = {name: checkpoint_of(path, debug) for name, path in named.items()}
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
