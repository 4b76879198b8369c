"""No circle of imports: between folders, between files, or between files and folders that lie beside each other."""

import pytest
from product_source import FOLDERS, MODULES

PACKAGES = ["", *(folder.replace("/", ".") for folder in FOLDERS)]


def neighbours(package: str) -> dict[str, dict[str, str]]:
    """Return child -> imported child -> an example; a child is a file or a whole folder that lies in the package.

    Function-local imports count: an import that has to wait until a function runs hides a circle. Imports for type
    checkers alone, which never run, do not count.
    """
    prefix = f"{package}." if package else ""
    graph: dict[str, dict[str, str]] = {}
    for module in MODULES.values():
        if not module.name.startswith(prefix):
            continue
        child = module.name.removeprefix(prefix).split(".")[0]
        edges = graph.setdefault(child, {})
        for one in module.imports:
            if one.ours and not one.for_types and one.module.startswith(prefix):
                there = one.module.removeprefix(prefix).split(".")[0]
                if there != child:
                    edges.setdefault(there, f"{module.path}:{one.line} imports {one.module}")
    return graph


def find_circle(graph: dict[str, dict[str, str]]) -> list[str]:
    """Return the nodes of a circle, or nothing."""
    finished: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node not in finished:
            for there in graph.get(node, {}):
                found = walk(there, [*path, node])
                if found:
                    return found
            finished.add(node)
        return []

    return next((found for node in graph if (found := walk(node, []))), [])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package or "root")
def test_no_circle(package):
    graph = neighbours(package)
    circle = find_circle(graph)
    assert not circle, "\n".join(graph[a][b] for a, b in zip(circle, [*circle[1:], circle[0]], strict=True))


def test_a_circle_is_found():
    graph = {"a": {"b": ""}, "b": {"c": "", "d": ""}, "c": {}, "d": {"b": ""}}
    assert find_circle(graph) == ["b", "d"]
    assert find_circle({"a": {"b": ""}, "b": {}, "c": {"a": "", "b": ""}}) == []


def test_local_imports_and_modules_of_a_folder_are_seen():
    imports = {one.module for one in MODULES["cli.main"].imports if one.ours}
    assert any(name.startswith("cli.") for name in imports)
    assert {one.module for one in MODULES["generation.mixin"].imports if one.ours} >= {"generation.engine.engine"}
