"""A small change of one function's source, found by its syntax and not by its lines."""

from __future__ import annotations

import ast
import copy
import textwrap
from pathlib import Path


def mutate(source: str, name: str, old: str, new: str) -> str:
    """`source` with `old` changed to `new` inside of the function, class or table called `name`.

    `old` and `new` are an expression each, or statements (none at all to take some away). They are compared
    as syntax trees, so formatting, comments and line breaks don't matter. LookupError unless `old` is there
    exactly once.

    >>> print(mutate("def area(a, b):\\n    return a*b  # of a rectangle", "area", "a * b", "a + b"))
    def area(a, b):
        return a + b
    """
    tree = ast.parse(source)
    node = _find(tree, name.split("."))
    if node is None:
        raise LookupError(f"there is no {name}")
    count = _change(node, _parse(old), _parse(new))
    if count != 1:
        raise LookupError(f"{name} holds `{old}` {count} times, not once; it is\n{ast.unparse(node)}")
    return ast.unparse(ast.fix_missing_locations(tree))


def mutate_file(package: Path, anchor: str, old: str, new: str) -> None:
    """`mutate` a file of the package in place; the anchor is `room.module:name`."""
    module, _, name = anchor.partition(":")
    path = package.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists():
        raise LookupError(f"{anchor}: there is no module {module}")
    try:
        text = mutate(file.read_text(encoding="utf-8"), name, old, new)
    except LookupError as error:
        raise LookupError(f"{anchor}: {error}") from None
    file.write_text(text, encoding="utf-8")


def _find(node: ast.AST, names: list[str]) -> ast.AST | None:
    if not names:
        return node
    for child in ast.walk(node):
        if child is node:
            continue
        own = getattr(child, "name", None)
        if isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            own = next((target.id for target in targets if isinstance(target, ast.Name)), None)
        if own == names[0] and isinstance(child, ast.stmt):
            return _find(child, names[1:])
    return None


def _parse(code: str) -> list[ast.stmt]:
    return ast.parse(textwrap.dedent(code)).body


def _change(node: ast.AST, old: list[ast.stmt], new: list[ast.stmt]) -> int:
    """Change every occurrence in place; how many there were."""
    if len(old) == len(new) == 1 and isinstance(old[0], ast.Expr) and isinstance(new[0], ast.Expr):
        return _change_expressions(node, old[0].value, new[0].value)
    wanted = [ast.dump(statement) for statement in old]
    blocks = [
        getattr(holder, field, None) for holder in ast.walk(node) for field in ("body", "orelse", "finalbody")
    ]
    places = [
        (block, i)
        for block in blocks
        if isinstance(block, list)
        for i in range(len(block) - len(old) + 1)
        if [ast.dump(statement) for statement in block[i : i + len(old)]] == wanted
    ]
    for block, i in reversed(places):
        block[i : i + len(old)] = copy.deepcopy(new) or [ast.Pass()]
    return len(places)


def _change_expressions(node: ast.AST, old: ast.expr, new: ast.expr) -> int:
    wanted, count = ast.dump(old), 0

    class Change(ast.NodeTransformer):
        def visit(self, node):
            nonlocal count
            if isinstance(node, ast.expr) and ast.dump(node) == wanted:
                count += 1
                return copy.deepcopy(new)
            return self.generic_visit(node)

    Change().visit(node)
    return count
