"""`planned-diffusion chat`: a conversation on the terminal; every answer is shown while it is written."""

from typing import Annotated

from typer import Option

from ..loading.embedded import EMBEDDED
from .field_options import given_fields
from .generate import load_checkpoint
from .included_model import note_on_prompt
from .model_names import checkpoint_of
from .options import Debug, Loading, Speed, check_speed


def chat(
    loading: Loading,
    system: Annotated[str, Option(metavar="TEXT", help="System message in front of all questions.")] = "",
    speed: Speed = None,
    history: Annotated[
        bool | None,
        Option(
            "--history/--no-history",
            help="Show earlier questions and answers to the model.",
            show_default="on; off for the included model, which was taught single questions",
        ),
    ] = None,
    debug: Debug = False,
    **fields: object,
) -> None:
    """Talk with a model, which sees what was said before. /help lists what else can be typed.

    Fields that are not given are the checkpoint's own; docs/fields.md lists decoders and fields.
    """
    given = given_fields(fields)
    check_speed(speed)
    source = checkpoint_of(loading.model, debug)
    checkpoint = load_checkpoint(source, loading, given, debug)
    from ..inference.conversation import Conversation
    from .chat_commands import WORDS
    from .chat_lines import typed_lines
    from .chat_turns import Chat

    remembers = source != str(EMBEDDED) if history is None else history
    conversation = Conversation(checkpoint, given, system, remembers)
    Chat(conversation, speed, before_asking=lambda question: note_on_prompt(source, question)).run(typed_lines(WORDS))
