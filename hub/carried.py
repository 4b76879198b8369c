"""Carry the files that the owner of a checkpoint wrote over into its export: model card, results, license.

A card goes along word for word. Only that of an adapter is changed, since its export is no adapter any more: what it
lacks (license, language, base model) comes from the card of the base model.
"""

import re
from pathlib import Path

from huggingface_hub import CardData, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from .card import own_card

CARD = "README.md"
OWNED = (CARD, "results.json", "LICENSE")
FROM_BASE = ("license", "license_name", "license_link", "language", "base_model")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# Metadata that PEFT and `push` write for adapters; a push of the export finds the values of a whole model.
OF_ADAPTERS = ("library_name", "base_model_relation")
TAGS_OF_ADAPTERS = re.compile(r"lora|peft|base_model:.*")


def carry_over(source: str, base: str | None, fresh: Path, out: Path) -> tuple[str, ...]:
    """Write the owner's files of `source` into a new export, and return notes for the user.

    A file that stands in `out`, the folder that the export will replace, wins: its owner may have edited it there.

    Args:
        source: folder or Hub repository of the checkpoint or adapter.
        base: the checkpoint that the adapter was trained on; None for a whole checkpoint.
        fresh: folder of the new export.
        out: folder where it will be put.
    """
    notes = []
    for name, content in owned_files(source, base).items():
        standing = out / name
        if not standing.is_file():
            (fresh / name).write_bytes(content)
        elif standing.read_bytes() != content:
            notes.append(f"{standing} stays as it is; remove it before you export to get the one of {source}.")
    return tuple(notes)


def owned_files(source: str, base: str | None) -> dict[str, bytes]:
    """Return the owner's files as an export of `source` has them: name -> content."""
    files = {name: find_file(source, name) for name in OWNED}
    if base is not None:
        files["LICENSE"] = files["LICENSE"] or find_file(base, "LICENSE")
    contents = {name: file.read_bytes() for name, file in files.items() if file is not None}
    if base is not None:
        contents[CARD] = card_of_merged(files[CARD], base)
    return {name: content for name, content in contents.items() if content}


def card_of_merged(readme: Path | None, base: str) -> bytes:
    """Return the card of a model into which an adapter is merged; nothing where there is nothing to say.

    Args:
        readme: card of the adapter.
        base: folder or Hub repository of the base model.
    """
    card = own_card(readme)
    own = {name: value for name, value in card.data.to_dict().items() if name not in OF_ADAPTERS}
    own["tags"] = [tag for tag in own.get("tags") or () if not TAGS_OF_ADAPTERS.fullmatch(tag)]
    if not is_repository(own.get("base_model")):
        own["base_model"] = base if is_repository(base) else None
    inherited = own_card(find_file(base, CARD)).data.to_dict()
    known = own | {name: inherited.get(name) for name in FROM_BASE if not own.get(name)}
    data = CardData(**{name: value for name, value in known.items() if value})
    head = f"---\n{data.to_yaml()}\n---\n" if data.to_dict() else ""
    return "\n".join(part for part in (head, card.text.strip()) if part).encode()


def is_repository(base: object) -> bool:
    """Return whether the name of a base model is one that others can load: owner/name, and no folder here."""
    return isinstance(base, str) and REPOSITORY.fullmatch(base) is not None and not Path(base).exists()


def find_file(source: str, name: str) -> Path | None:
    """Return a file of a folder or Hub repository; None where it has none, or none can be had without the network."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        return Path(hf_hub_download(source, name))
    except EntryNotFoundError:
        return None
