"""`planned-diffusion app`: a web page on which people ask a checkpoint, watch it write, and edit its outline."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar

from typer import Argument, Option

from .model_names import checkpoint_of
from .options import Debug, quiet
from .server import Weights, opened


@dataclass(frozen=True)
class Source:
    """The checkpoint that people ask, named with or without --model."""

    source: Annotated[
        str | None, Argument(metavar="[MODEL]", help="As --model of generate; default: the included model.")
    ] = None
    model: Annotated[str | None, Option(metavar="NAME", help="The same checkpoint, as other commands take it.")] = None

    @property
    def name(self) -> str | None:
        """Return the one that was given.

        Raises:
            ValueError: two that differ.
        """
        if self.source and self.model and self.source != self.model:
            raise ValueError(f"There are two models, {self.source} and --model {self.model}; give one.")
        return self.source or self.model


@dataclass(frozen=True)
class Place:
    """Options for where the page is shown."""

    panel: ClassVar[str] = "Address"
    host: Annotated[str, Option(help="Address to listen on; others than this machine's need --public.")] = "127.0.0.1"
    port: Annotated[int, Option(help="Port to listen on; 0: any that is free.")] = 7860
    public: Annotated[bool, Option("--public", help="Let everybody in who reaches the address; no key is asked.")] = (
        False
    )


@dataclass(frozen=True)
class PageBounds:
    """Options that bound what people may ask."""

    panel: ClassVar[str] = "Limits"
    live: Annotated[int | None, Option(help="Answers that share a forward; default: 32, on a GPU 64.")] = None
    queue: Annotated[int, Option(help="Answers that may wait.")] = 64
    prompt_tokens: Annotated[int, Option(help="Tokens of a question, at most.")] = 2048
    answer_tokens: Annotated[int, Option(help="Tokens of an answer, at most.")] = 1024
    answer_seconds: Annotated[float, Option(help="Seconds that an answer may take, at most.")] = 300


def app(
    of: Source,
    weights: Weights,
    place: Place,
    bounds: PageBounds,
    space: Annotated[
        Path | None, Option(metavar="FOLDER", help="Write a folder that is a Space of the Hub, and show nothing here.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a web page: ask, watch the outline and its parts appear, edit the outline, fill in forms.

    It listens on this machine alone. docs/usage.md describes the page.
    """
    model = of.name
    if space is not None:
        from ..app.space import write_space

        write_space(space, model)
        print(f"Wrote {space}; docs/usage.md says how it becomes a Space.")
        return
    lacking = [name for name in ("gradio", "fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if lacking:
        raise RuntimeError(f"The page needs {', '.join(lacking)}; run pip install 'planned-diffusion[app]'.")
    from ..app.page_server import Showing, page_limits, run_page
    from ..inference.server.run_server import Address

    showing = Showing(Address(place.host, place.port), replace(page_limits(), **vars(bounds)), place.public)
    source = checkpoint_of(model, debug)
    quiet(debug)
    checkpoint = opened(source, weights)
    run_page(shown_name(model), checkpoint, showing)


def shown_name(model: str | None) -> str:
    """Return the name of a model as the page shows it: no path of this machine."""
    if model is None:
        return "facts"
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.exists() else model
