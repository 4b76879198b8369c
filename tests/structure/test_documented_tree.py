"""The tree in docs/architecture.md names every folder that exists, and no other."""

import re
from fnmatch import fnmatch

from product_source import FOLDERS, ROOT

PAGE = ROOT / "docs" / "architecture.md"


def documented_folders(page: str) -> set[str]:
    """Return the folders in the fenced blocks of a page: names that end with a slash, nested by their indentation.

    Only a name that begins a line counts; text after it is its description.
    """
    found = set()
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        above: list[tuple[int, str]] = []  # (column, path) of the folders around the present line
        for line in block.splitlines():
            match = re.match(r"^([\s│├└─|]*)((?:[\w.-]+/)+)(?:\s|$)", line)
            if match:
                column = len(match[1])
                above = [(outer, path) for outer, path in above if outer < column]
                path = (above[-1][1] if above else "") + match[2]
                above.append((column, path))
                parts = path.rstrip("/").split("/")
                found |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return found


def existing_folders() -> set[str]:
    """Return the product's folders and all others at the top, without hidden and ignored ones."""
    ignored = [line.strip().strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return set(FOLDERS) | {name for name in top if not any(fnmatch(name, pattern) for pattern in ignored)}


def test_every_folder_is_in_the_documented_tree():
    assert PAGE.is_file(), "docs/architecture.md is missing; it shows the tree of the repository"
    documented = documented_folders(PAGE.read_text(encoding="utf-8"))
    missing = sorted(existing_folders() - documented)
    assert not missing, f"docs/architecture.md shows no line for {', '.join(missing)}; add them to its tree"
    gone = sorted(name for name in documented if not (ROOT / name).is_dir())
    assert not gone, f"docs/architecture.md shows {', '.join(gone)}, which do not exist; remove them"


def test_how_a_tree_is_read():
    page = "text/\n```\ncli/        commands\nhub/        export\n  convert/  a converter\nengine.py   no folder\n```\n"
    assert documented_folders(page) == {"cli", "hub", "hub/convert"}
    drawn = "```text\n├── generation/\n│   └── engine/   packs\n└── records/\n```\n"
    assert documented_folders(drawn) == {"generation", "generation/engine", "records"}
    at_once = "```\ngeneration/decoders/   one file each\n```"
    assert documented_folders(at_once) == {"generation", "generation/decoders"}
