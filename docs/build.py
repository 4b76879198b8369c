"""Build the documentation as a site: `python docs/build.py` (`make docs`), without network and with warnings as errors.

1. copy the pages to build/docs/pages; a file of the repository that a page links to is copied beside them
2. write a reference page per folder of the package: a heading per module, filled from its docstrings
3. copy the package to build/docs/source, since the repository root is the package and has other files beside it
4. run Zensical in strict mode, which refuses links that lead nowhere; the site appears in build/docs/site
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"
BUILD = ROOT / "build" / "docs"
PACKAGE = "planned_diffusion"
# Rooms of the reference, in the order of their layers; a module belongs to the longest name that it starts with.
ROOMS = (
    "modeling_planned_diffusion", "configuration_planned_diffusion", "checkpoint_planned_diffusion",
    "versions_planned_diffusion", "generation", "generation.decoders", "generation.engine", "records", "loading",
    "facts", "inference", "training", "annotation", "hub", "evaluation", "distillation", "app",
    "cli",
)  # fmt: skip
LINK = re.compile(r"\]\(\.\./([^)#\s]+)")  # from a page to a file outside docs/


def main() -> int:
    """Build the site; return 0, or 1 where anything was warned of."""
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(PAGES, BUILD / "pages", ignore=shutil.ignore_patterns("*.py", "*.yml", "__pycache__"))
    for page in (BUILD / "pages").glob("*.md"):
        page.write_text(with_files(page.read_text(encoding="utf-8")), encoding="utf-8")
    write_reference(BUILD / "pages" / "reference")
    copy_package(BUILD / "source" / PACKAGE)
    shutil.copy(PAGES / "mkdocs.yml", BUILD)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", BUILD / "mkdocs.yml"]
    built = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(built.stdout)
    # Strict mode counts what Zensical finds in pages; griffe, which reads the docstrings, only prints.
    return int(built.returncode != 0 or "griffe:" in built.stdout)


def with_files(text: str) -> str:
    """Copy the repository's files that a page links to into the site, and return the page with the new links.

    Raises:
        FileNotFoundError: a link leads nowhere.
    """

    def copied(found: re.Match[str]) -> str:
        source = ROOT / found[1]
        name = f"{found[1]}.txt" if source.suffix in (".md", ".py") else found[1]  # shown, neither built nor run
        target = BUILD / "pages" / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return f"](files/{name}"

    return LINK.sub(copied, text)


def modules() -> list[str]:
    """Return the names of all modules of the package, without its own in front, sorted."""
    folders = sorted({room.split(".")[0] for room in ROOMS if (ROOT / room.split(".")[0]).is_dir()})
    files = [*ROOT.glob("*_planned_diffusion.py"), *(file for name in folders for file in (ROOT / name).rglob("*.py"))]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return sorted(name for name in names if not name.endswith("__init__"))


def room_of(module: str) -> str:
    """Return the room of the reference that a module belongs to."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def write_reference(folder: Path) -> None:
    """Write a page per room, with a directive for every module in it."""
    folder.mkdir(parents=True)
    for room in ROOMS:
        listed = [name for name in modules() if room_of(name) == room]
        blocks = [f"# {room}", *(f"::: {PACKAGE}.{name}" for name in listed)]
        (folder / f"{room}.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def copy_package(target: Path) -> None:
    """Copy the modules of the package, and nothing else, under the package's name."""
    files = [*ROOT.glob("__init__.py"), *(ROOT / f"{name.replace('.', '/')}.py" for name in modules())]
    folders = {parent for file in files for parent in file.relative_to(ROOT).parents}
    for file in (*files, *(ROOT / folder / "__init__.py" for folder in folders)):
        copy = target / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)


if __name__ == "__main__":
    sys.exit(main())
