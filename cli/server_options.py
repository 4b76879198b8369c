"""Options of `planned-diffusion serve`, in the groups in which its help lists them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from typer import Argument, Option

KEY_VARIABLE = "PLANNED_DIFFUSION_API_KEY"
ENGINE_KEY_VARIABLE = "PLANNED_DIFFUSION_ENGINE_KEY"


@dataclass(frozen=True)
class Sources:
    """Checkpoints that are served, and the processes that serve them."""

    source: Annotated[
        str | None, Argument(metavar="[MODEL]", help="Folder or Hub repository of a checkpoint; default: the included.")
    ] = None
    model: Annotated[
        list[str] | None,
        Option(metavar="NAME=PATH", help="Checkpoint or adapter, and the name under which it is served; repeatable."),
    ] = None
    replicas: Annotated[
        int | None,
        Option(help="Processes behind one address, each with the models, by Ray Serve; on GPUs, one per GPU."),
    ] = None
    ray: Annotated[
        str | None, Option(metavar="ADDRESS", help="Address of a running Ray cluster; auto: the one on this machine.")
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
        Literal["auto", "float32", "bfloat16", "nf4", "int8", "w8a16", "w8a8"],
        Option(help="Data type of the weights, as of generate."),
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
