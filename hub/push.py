"""`planned-diffusion push`: a checkpoint or a LoRA adapter to the Hub, with a card, private unless told otherwise.

First it says what would change (proposal.py), and it sends only what was confirmed. Doing it twice changes nothing, and
an upload that broke off is repeated: what has arrived is not sent again.
"""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from ..loading.memory import readable
from .card import About
from .proposal import Proposal, propose


def push(
    source: str,
    repo: str,
    about: About | None = None,
    private: bool = True,
    tag: str | None = None,
    run_card: bool = True,
    confirmed: bool = False,
    say=print,
) -> str | None:
    """Says what would change and, if `confirmed`, does it; returns the commit, or None.

    Args:
        source: folder of a checkpoint, an export or a LoRA adapter.
        repo: owner/name.
        private: of a repository that is made; an existing one keeps its visibility.
        tag: name of a revision to set on the pushed commit.
        run_card: run the card's program, and show in the card what it prints.

    Raises:
        ValueError: a name, folder, license, tag or base model that cannot be used.
        RuntimeError: the Hub cannot be reached, or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="planned-diffusion-") as workshop, clear_errors():
        proposal = propose(source, repo, about or About(), Path(workshop), private, tag, run_card)
        for line in described(proposal, tag):
            say(line)
        if not confirmed:
            say("Nothing was sent. Give --yes to push.")
            return None
        commit = carry_out(proposal, tag)
    say(f"{repo} is at commit {commit}; pin it with revision={(tag or commit)!r}.")
    return commit


def described(proposal: Proposal, tag: str | None) -> list[str]:
    """What would be done, a line each."""
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
    """Makes the repository, sends what changed in one commit, and tags it; returns the commit.

    Raises:
        ValueError: the tag stands on another commit.
        RuntimeError: an upload broke off; nothing of it can be seen on the Hub.
    """
    api = HfApi()
    api.create_repo(proposal.repo, private=proposal.private, exist_ok=True)
    operations = [CommitOperationAdd(name, _source(proposal.files[name])) for name in proposal.changed]
    operations += [CommitOperationDelete(name) for name in proposal.removed]
    if operations:
        try:
            commit = api.create_commit(proposal.repo, operations, commit_message="Upload checkpoint with its code").oid
        except RuntimeError as error:  # huggingface_hub's, around whatever happened to one of the large files
            raise RuntimeError(
                f"{str(error).rstrip('.')} ({error.__cause__}). The repository shows nothing of it; push again to go "
                "on with the files that are missing."
            ) from error
    else:
        commit = api.model_info(proposal.repo).sha
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
def clear_errors():
    """The libraries' errors about the Hub as one sentence each."""
    try:
        yield
    except (OfflineModeIsEnabled, httpx.TransportError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise RuntimeError(f"The Hub cannot be reached: {reason}.") from error
    except HfHubHTTPError as error:
        reason = (error.server_message or str(error)).strip().splitlines()[0].rstrip(".")
        raise RuntimeError(
            f"The Hub refuses ({error.response.status_code}): {reason}. Does the token have write access? "
            "hf auth whoami tells whose it is."
        ) from error
