"""How a checkout is built: rooms, floors, arrows, lengths and types. `python -m bench.house [PATH]`, to compare two."""

import argparse
import ast
import json
import re
import statistics
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_GENERATED = "/pb/"
_BESIDE = ("bench", "tests")  # counted as code, though no contract names their layers

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """One root package.

    A room is a module or package directly inside it; a floor is a layer of its import-linter contract; an arrow is a
    pair of rooms of which one imports the other. Lengths are in lines.
    """

    package: str
    rooms: int
    floors: int
    arrows: int
    files: int
    files_in_largest_room: int
    lines: int
    largest_file: int
    functions: int
    function_median: float
    function_p90: int
    function_max: int
    typed_percent: float


def examine(root: Path, package: str, floors: int) -> House:
    files = _sources(root / package)
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    lengths = sorted(_length(function) for tree in trees.values() for function in _functions(tree))
    typed = [_is_typed(function) for tree in trees.values() for function in _functions(tree)]
    rooms = _files_by_room(root / package, files)
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
    return House(
        package,
        len(rooms),
        floors,
        len(_arrows(root, package, trees, set(rooms))),
        len(files),
        max(rooms.values(), default=0),
        sum(lines),
        max(lines, default=0),
        len(lengths),
        statistics.median(lengths or [0]),
        lengths[int(0.9 * len(lengths))] if lengths else 0,
        max(lengths, default=0),
        round(100 * sum(typed) / max(len(typed), 1), 1),
    )


def layers(pyproject: dict[str, object]) -> dict[str, int]:
    """How many layers import-linter holds in each container; the packages it knows, in the order of the file."""
    linter = pyproject["tool"]["importlinter"]  # type: ignore[index]
    found = dict.fromkeys(linter["root_packages"], 0)
    for contract in linter["contracts"]:
        for container in contract.get("containers", ()):
            found[container] = len(contract["layers"])
    return found


def words(readme: Path) -> int:
    return len(re.findall(r"\S+", readme.read_text(encoding="utf-8")))


def _sources(folder: Path) -> list[Path]:
    """What git tracks, so that what lies about in a work tree does not count; without generated code."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=folder, capture_output=True, text=True, check=True)
    paths = [folder / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file() and _GENERATED not in path.as_posix()]


def _files_by_room(folder: Path, files: Iterable[Path]) -> dict[str, int]:
    rooms: dict[str, int] = {}
    for path in files:
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        if room != "__init__":
            rooms[room] = rooms.get(room, 0) + 1
    return rooms


def _arrows(root: Path, package: str, trees: dict[Path, ast.Module], rooms: set[str]) -> set[tuple[str, str]]:
    found = set()
    for path, tree in trees.items():
        room = path.relative_to(root / package).parts[0].removesuffix(".py")
        for name in _imported(tree):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in rooms - {room}:
                found.add((room, parts[1]))
    return found


def _imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names that run-time code imports; what is imported for type checkers alone is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield from _imported(node)


def _functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _length(function: Function) -> int:
    assert function.end_lineno
    return function.end_lineno - function.lineno + 1


def _is_typed(function: Function) -> bool:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return function.returns is not None and all(one.annotation or one.arg in ("self", "cls") for one in named)


def _print(houses: Sequence[House], containers: dict[str, int], readme_words: int, typed: float) -> None:
    print("package    rooms floors arrows  files largest room  lines largest file  function median/p90/max  typed %")
    for house in houses:
        print(
            f"{house.package:10} {house.rooms:5} {house.floors or '-':>6} {house.arrows:6} {house.files:6} "
            f"{house.files_in_largest_room:12} {house.lines:6} {house.largest_file:12}  "
            f"{house.function_median:8g} /{house.function_p90:4} /{house.function_max:4}  {house.typed_percent:9}"
        )
    inner = {name: count for name, count in containers.items() if "." in name}
    print(f"groups with layers of their own: {len(inner)} ({', '.join(inner) or 'none'})")
    print(f"typed, tests included: {typed:.1f} %")
    print(f"README: {readme_words} words")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=Path(), help="a checkout (this one)")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    containers = layers(tomllib.loads((options.path / "pyproject.toml").read_text(encoding="utf-8")))
    packages = [name for name in containers if "." not in name]
    houses = [examine(options.path, name, containers.get(name, 0)) for name in (*packages, *_BESIDE)]
    functions = sum(house.functions for house in houses)
    typed = sum(house.typed_percent * house.functions for house in houses) / functions
    readme_words = words(options.path / "README.md")
    if options.json:
        print(json.dumps({"houses": [asdict(one) for one in houses], "typed": typed, "readme_words": readme_words}))
    else:
        _print(houses, containers, readme_words, typed)


if __name__ == "__main__":
    main()
