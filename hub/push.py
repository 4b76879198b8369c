"""`planned-diffusion push`: send a checkpoint or a LoRA adapter to the Hub, with a card; private by default.

Push first prints the changes (proposal.py), and sends them only when they are confirmed. A second push of the same
files changes nothing, and after an interrupted upload it sends only the missing files.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from ..loading.memory import readable
from ..records.checks import first_line
from .card import About
from .proposal import Choices, Proposal, propose


def push(
    source: str,
    repo: str,
    about: About | None = None,
    choices: Choices | None = None,
    confirmed: bool = False,
    say: Callable[[str], object] = print,
) -> str | None:
    """Print the changes and, if `confirmed`, send them; return the commit, or None.

    Args:
        source: folder of a checkpoint, an export or a LoRA adapter.
        repo: owner/name.
        about: facts for the card that no file states.
        choices: visibility, tag and whether the card's program is run; by default private, none, run.
        say: called with each line of output.

    Raises:
        ValueError: a name, folder, license, tag or base model that cannot be used.
        RuntimeError: the Hub cannot be reached, or refuses.
    """
    choices = choices or Choices()
    with tempfile.TemporaryDirectory(prefix="planned-diffusion-") as workshop, clear_errors():
        proposal = propose(source, repo, about or About(), choices, Path(workshop))
        for line in proposal_lines(proposal, choices.tag):
            say(line)
        if not confirmed:
            say("Nothing was sent. Give --yes to push.")
            return None
        commit = carry_out(proposal, choices.tag)
    say(f"{repo} is at commit {commit}; pin it with revision={(choices.tag or commit)!r}.")
    return commit


def proposal_lines(proposal: Proposal, tag: str | None) -> list[str]:
    """Return the changes, a line each."""
    visibility = "private" if proposal.private else "public"
    lines = [f"{proposal.repo}: {'a new' if proposal.is_new else 'the'} {visibility} repository"]
    for name in proposal.changed:
        content = proposal.files[name]
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        lines.append(f"  send    {name} ({readable(size)})")
    lines += [f"  remove  {name}" for name in proposal.removed]
    if proposal.unchanged:
        lines.append(f"  {len(proposal.unchanged)} files are there already")
    if tag:
        lines.append(f"  tag     {tag}")
    return lines + [f"  note: {note}" for note in proposal.notes]


def carry_out(proposal: Proposal, tag: str | None) -> str:
    """Make the repository, send the changes in one commit, tag it, and return the commit.

    Raises:
        ValueError: the tag stands on another commit.
        RuntimeError: an upload was interrupted; the Hub shows nothing of it.
    """
    api = HfApi()
    api.create_repo(proposal.repo, private=proposal.private, exist_ok=True)
    operations = [CommitOperationAdd(name, _source(proposal.files[name])) for name in proposal.changed]
    operations += [CommitOperationDelete(name) for name in proposal.removed]
    if operations:
        try:
            made = api.create_commit(proposal.repo, operations, commit_message="Upload checkpoint with its code")
        except RuntimeError as error:  # huggingface_hub wraps every error of a large file's upload in one
            raise RuntimeError(
                f"{str(error).rstrip('.')} ({error.__cause__}). The repository shows nothing of it; push again to go "
                "on with the files that are missing."
            ) from error
        commit = made.oid
    else:
        commit = str(api.model_info(proposal.repo).sha)
    if tag:
        _set_tag(api, proposal.repo, tag, commit)
    return commit


def _source(content: Path | bytes) -> str | bytes:
    return content if isinstance(content, bytes) else str(content)


def _set_tag(api: HfApi, repo: str, tag: str, commit: str) -> None:
    standing = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    if tag not in standing:
        api.create_tag(repo, tag=tag, revision=commit)
    elif standing[tag] != commit:
        raise ValueError(f"The tag {tag} stands on commit {standing[tag]} of {repo}; the new commit is {commit}. "
                         "Give --tag another name.")  # fmt: skip


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the libraries' errors about the Hub into one sentence each.

    Raises:
        RuntimeError: the Hub cannot be reached, or refuses.
    """
    try:
        yield
    except (OfflineModeIsEnabled, httpx.TransportError) as error:
        raise RuntimeError(f"The Hub cannot be reached: {first_line(error)}.") from error
    except HfHubHTTPError as error:
        reason = (error.server_message or str(error)).strip().splitlines()[0].rstrip(".")
        raise RuntimeError(
            f"The Hub refuses ({error.response.status_code}): {reason}. Does the token have write access? "
            "hf auth whoami tells whose it is."
        ) from error
