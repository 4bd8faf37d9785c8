"""What a Python file asks of TensorRT by name, read off its syntax."""

import ast
from collections import Counter

Chain = tuple[str, ...]
"""A module and the attributes that follow: ("tensorrt", "BuilderFlag", "REFIT")."""


def asked(source: str, module: str = "tensorrt") -> dict[str, Chain]:
    """Each name as it is written, `tensorrt.BuilderFlag.REFIT`, and what it stands for.

    Known are imports under any name, names bound once to such a name, and `module`, for files to which the package is
    handed. What is asked of instances is not: no syntax tells their class.
    """
    tree = ast.parse(source)
    known: dict[str, Chain] = {module: ("tensorrt",)} | _imported(tree)
    known |= _bound(tree, known)
    found = {name: chain for name, chain in _imported(tree).items() if len(chain) > 1}
    prefixes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in prefixes:
            root, *names = _names(node)
            if root in known:
                found[".".join((root, *names))] = (*known[root], *names)
    return found


def _imported(tree: ast.AST) -> dict[str, Chain]:
    names: dict[str, Chain] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                if item.name.split(".")[0] == "tensorrt":
                    names[item.asname or "tensorrt"] = (item.name if item.asname else "tensorrt",)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tensorrt" and not node.level:
            names |= {item.asname or item.name: (str(node.module), item.name) for item in node.names}
    return names


def _bound(tree: ast.AST, known: dict[str, Chain]) -> dict[str, Chain]:
    """`flags = tensorrt.NetworkDefinitionCreationFlag`, where nothing else is called so."""
    stored = Counter(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    names: dict[str, Chain] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and len(node.targets) == 1:
            root, *rest = _names(node.value)
            if root in known and stored[node.targets[0].id] == 1:
                names[node.targets[0].id] = (*known[root], *rest)
    return names


def _names(node: ast.expr) -> list[str]:
    """`tensorrt.A.B` as its parts; [""] for anything else, a call say, whose answer is an instance."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_names(node.value), node.attr]
    return [""]
