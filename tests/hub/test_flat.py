"""The flat code: what is rewritten, what is refused, and that nothing in it can reach beyond the model."""

import ast
import builtins
import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

import planned_diffusion
from planned_diffusion.hub import flat
from planned_diffusion.hub.flat import AUTO_MAP, FIRST_WORDS, STARTER, ExportError, flat_code, refresh, write_flat_code

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "checkpoints" / "facts"
CONFIGURATION = b"class PlannedDiffusionConfig: ...\n"
MODELING = b"class PlannedDiffusionForCausalLM: ...\n"


def package(**files: bytes) -> dict[str, bytes]:
    """A package of the two entry modules and `files`; "generation__b" stands for generation.b."""
    sources = {"configuration_planned_diffusion": CONFIGURATION, "modeling_planned_diffusion": MODELING}
    return sources | {name.replace("__", "."): content for name, content in files.items()}


def modeling(line: bytes) -> dict[str, bytes]:
    return package(modeling_planned_diffusion=line + b"\n" + MODELING, generation__b=b"x = 1\n")


def flatten(sources: dict[str, bytes]) -> dict[str, bytes]:
    return flat.flatten(sources, "1.2.3")


def first_line(path: str) -> bytes:
    return f"# Generated from {path} of planned-diffusion 1.2.3; do not edit.\n".encode()


# What is written


def test_imports_are_rewritten_and_every_other_byte_stays():
    inner = (
        b'"""H\xc3\xa9 from .b import nothing."""\r\n\r\n'
        b"if True:  # \xc3\xa9 from ..b import x\r\n"
        b"    from  ...generation.b \timport (  # why\r\n        x as y,\r\n    )\r\n"
        b"def f():\r\n\tfrom .z import w\r\n\treturn w\x0c\r\n"
    )
    sources = modeling(b"from .generation.deep.a import f") | {
        "generation.deep.a": inner,
        "generation.deep.z": b"w = 2",
        "generation.unused": b"import numpy",
    }
    files = flatten(sources)
    assert list(files) == [
        "configuration_planned_diffusion.py",
        "generation_b.py",
        "generation_deep_a.py",
        "generation_deep_z.py",
        "modeling_planned_diffusion.py",
    ]
    expected = inner.replace(b"from  ...generation.b \timport", b"from  .generation_b \timport")
    expected = expected.replace(b"from .z import w", b"from .generation_deep_z import w")
    assert files["generation_deep_a.py"] == first_line("generation/deep/a.py") + expected
    head = first_line("modeling_planned_diffusion.py") + b"from .generation_deep_a import f\n"
    assert files["modeling_planned_diffusion.py"] == head + MODELING


def test_the_same_every_time_and_all_that_the_loader_asks_for(tmp_path):
    assert write_flat_code(tmp_path) == AUTO_MAP
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    flat_code.cache_clear()
    assert written == flat_code() and list(flat_code()) == sorted(written)
    asked = {Path(file).name for file in get_relative_import_files(tmp_path / "modeling_planned_diffusion.py")}
    assert asked | {"modeling_planned_diffusion.py"} == set(written)
    for file in tmp_path.iterdir():
        assert set(get_imports(file)) <= {"torch", "transformers", *flat.sys.stdlib_module_names}


def test_every_file_says_where_it_comes_from():
    version = planned_diffusion.__version__
    code = flat_code()
    engine = f"# Generated from generation/engine/engine.py of planned-diffusion {version}; do not edit.\n"
    assert code["generation_engine_engine.py"].decode().startswith(engine)
    assert all(content.startswith(FIRST_WORDS) for content in code.values())
    for name, content in code.items():
        source = ROOT / content.decode().split(" ")[3]
        assert name == "_".join(source.relative_to(ROOT).parts)
        assert content.count(b"\n") == source.read_bytes().count(b"\n") + 1


def test_no_generated_file_is_committed():
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the package is no git repository")
    listed = subprocess.run(
        ["git", "ls-files", "checkpoints/facts/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == [f"checkpoints/facts/{STARTER}.py"]


def test_generated_files_of_other_versions_are_removed_and_current_ones_not_touched(tmp_path):
    write_flat_code(tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (tmp_path / "generation_gone.py").write_bytes(first_line("generation/gone.py"))
    (tmp_path / "generation_mine.py").write_text("mine = True\n")
    assert write_flat_code(tmp_path) == AUTO_MAP
    assert (tmp_path / "generation_mine.py").is_file() and not (tmp_path / "generation_gone.py").exists()
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before


def test_refresh_renews_code_and_auto_map_and_leaves_the_rest(tmp_path):
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_bytes((EMBEDDED / name).read_bytes())
    for name in ("generation_gone.py", "modeling_planned_diffusion.py", "mine.py", "model.safetensors"):
        (tmp_path / name).write_text("old")
    refresh(tmp_path)
    kept = {"config.json", "generation_config.json", "mine.py", "model.safetensors"}
    assert {file.name for file in tmp_path.iterdir()} == kept | set(flat_code())
    assert (tmp_path / "mine.py").read_text() == (tmp_path / "model.safetensors").read_text() == "old"
    embedded, written = (json.loads((folder / "config.json").read_text()) for folder in (EMBEDDED, tmp_path))
    assert written.pop("auto_map") == AUTO_MAP
    assert embedded.pop("auto_map") == {**AUTO_MAP, "AutoConfig": f"{STARTER}.PlannedDiffusionConfig"}
    assert written == embedded


def test_the_included_checkpoint_is_renewed_without_a_change_that_git_would_see(tmp_path):
    """By the command that needs nothing installed: an interpreter without packages."""
    for name in ("config.json", f"{STARTER}.py"):
        (tmp_path / name).write_bytes((EMBEDDED / name).read_bytes())
    command = [sys.executable, "-I", "-S", str(ROOT / "hub" / "flat.py"), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""
    for name in ("config.json", f"{STARTER}.py"):
        assert (tmp_path / name).read_bytes() == (EMBEDDED / name).read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", f"{STARTER}.py", *flat_code()}


def test_the_command_says_how_it_is_used(tmp_path, capsys):
    assert flat.main([]) == 2 and "hub.flat FOLDER" in capsys.readouterr().err
    assert flat.main([str(tmp_path)]) == 1
    assert "holds no config.json; name the folder of a checkpoint" in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds no config.json; name the folder of a checkpoint"):
        refresh(tmp_path)


# What is refused


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"from . import generation", r"line 1: `from \. import \.\.\.` cannot be loaded back"),
        (b"from .generation import b", r"there is no module generation; import from a file"),
        (b"from .hub.flat import x", r"hub.flat is not exported; exported code may import checkpoint"),
        (b"from .generation.c import x", r"there is no module generation.c"),
        (b"def f():\n    import numpy.linalg", r"line 2: numpy.linalg would be needed"),
        (b"from peft import x", r"peft would be needed wherever the checkpoint is loaded"),
        (b"from .generation . b import x", r"Line 1: write the import of generation.b plainly"),
        (b"from \\\n  .generation.b import x", r"Line 1: write the import of generation.b plainly"),
        (b"from.generation.b import x", r"would not read its imports as Python does \(generation_b\)"),
        (b'"""Text\n  from .here import that\n"""', r"\(here\); no line of a docstring may look like"),
        (b'"""Text\n  import .here\n"""', r"\(here\); no line of a docstring"),
    ],
)
def test_code_that_could_not_be_loaded_back_is_refused(line, says):
    with pytest.raises(ExportError, match=says):
        flatten(modeling(line))


def test_libraries_inside_try_are_allowed():
    line = b"try:\n    import numpy\nexcept ImportError:\n    numpy = None"
    assert flatten(modeling(line))["modeling_planned_diffusion.py"].count(line) == 1


def test_two_modules_of_one_flat_name_are_refused():
    sources = modeling(b"from .generation.a.b import x") | {"generation.a.b": b"x = 1", "generation.a_b": b"x = 2"}
    with pytest.raises(ExportError, match="a.b and generation.a_b would both be exported as generation_a_b.py"):
        flatten(sources)


def test_a_class_that_is_not_where_auto_map_says_is_refused():
    with pytest.raises(ExportError, match="configuration_planned_diffusion.py defines no class PlannedDiffusionConfig"):
        flatten(package(configuration_planned_diffusion=b"PlannedDiffusionConfig = dict\n"))


# Trust

# Every module of the standard library that exported code uses; none of them reaches files, sockets or processes, but
# for sys, of which only what is listed is used.
HARMLESS = {
    "array", "collections", "contextlib", "copy", "dataclasses", "dis", "functools", "hashlib", "heapq", "itertools",
    "math", "random", "re", "struct", "time", "types", "typing", "weakref",
}  # fmt: skip
OF_SYS = {"modules", "version_info", "float_info", "stdlib_module_names"}
FROM = {"os": {"PathLike"}, "inspect": {"signature"}}  # a type; the names of arguments
REFUSED_NAMES = {
    "open", "eval", "exec", "compile", "input", "breakpoint", "globals", "vars", "__import__", "__builtins__",
}  # fmt: skip
REFUSED_ATTRIBUTES = {
    # files and processes, by way of torch, numpy or a path
    "open", "system", "popen", "read_text", "write_text", "read_bytes", "write_bytes", "tofile", "fromfile",
    "from_file", "save", "load", "hub", "cpp_extension", "load_library", "import_module", "loads", "urlopen",
    # ways around this list
    "__globals__", "__builtins__", "__subclasses__", "__code__", "__loader__", "__dict__",
}  # fmt: skip
ALLOWED = {  # fields that are attributes of an object of ours, looked through by name
    ("generation_config.py", "__dict__"), ("generation_fields.py", "__dict__"), ("generation_fields.py", "vars"),
    # what functions that a caller gives keep outside of objects
    ("generation_outer_variables.py", "vars"), ("generation_outer_variables.py", "__globals__"),
    ("generation_outer_variables.py", "__code__"),
}  # fmt: skip


def offences(name: str, source: bytes) -> list[str]:
    """Everything in a file that could reach beyond the model, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} <= FROM.get(node.module, set()):
            continue
        tops = {module.split(".")[0] for module in modules}
        found += [f"{name}:{node.lineno} imports {top}" for top in tops - HARMLESS - {"torch", "transformers", "sys"}]
        if isinstance(node, ast.Name) and node.id in REFUSED_NAMES and (name, node.id) not in ALLOWED:
            found.append(f"{name}:{node.lineno} names {node.id}")
        if isinstance(node, ast.Attribute):
            of_sys = isinstance(node.value, ast.Name) and node.value.id == "sys"
            refused = node.attr in REFUSED_ATTRIBUTES and (name, node.attr) not in ALLOWED
            if refused or (of_sys and node.attr not in OF_SYS):
                found.append(f"{name}:{node.lineno} reads .{node.attr}")
    return found


def test_exported_code_opens_no_file_socket_or_process_and_evaluates_no_string():
    assert hasattr(builtins, "eval")
    assert [offence for name, source in flat_code().items() for offence in offences(name, source)] == []


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "import os",
        "from os import PathLike, system",
        "from subprocess import run",
        "def f():\n    import socket",
        "exec('1')",
        "model.compute = eval",
        "torch.load('x')",
        "sys.exit()",
        "__import__('os')",
        "getattr(x, 'y').__globals__",
    ],
)
def test_the_walk_finds_what_it_should(line):
    assert len(offences("x.py", line.encode())) == 1
