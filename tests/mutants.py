"""Mechanical mutants: a function with one small thing changed, which a check must notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

SWAPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
RENAMED = {
    "tril": "triu",
    "sum": "mean",
    "amax": "amin",
    "softmax": "log_softmax",
    "sqrt": "exp",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "repeat_interleave": "repeat",
    "min": "max",
    "max": "min",
    "maximum": "minimum",
    "heappop": "heappush",
    "log": "log2",
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield (label, source) for each mutant of a function's source; labels are unique."""
    seen: dict[str, int] = {}
    original = ast.unparse(without_docstring(ast.parse(source)))
    tree = ast.parse(original)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for position, node in enumerate(ast.walk(tree)):
        if inside_raise(node, parents):
            continue  # words of error messages are not graded
        for label, change in changes(node, context(node, parents)):
            mutant = copy.deepcopy(tree)
            change(list(ast.walk(mutant))[position])
            text = ast.unparse(ast.fix_missing_locations(mutant))
            if text == original:
                continue
            seen[label] = seen.get(label, 0) + 1
            yield (label if seen[label] == 1 else f"{label} #{seen[label]}"), text


def without_docstring(tree: ast.Module) -> ast.Module:
    """Return the tree of a function without its docstring, whose words are no code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) and len(node.body) > 1:
            node.body = node.body[1:]
    return tree


def inside_raise(node: ast.AST, parents: dict) -> bool:
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.Raise):
            return True
    return False


def context(node: ast.AST, parents: dict) -> str:
    """Return the expression around a node, short enough for a label."""
    if not isinstance(node, ast.expr):
        return ""
    while isinstance(node, ast.Constant | ast.UnaryOp | ast.Slice | ast.keyword | ast.Tuple):
        if node not in parents or isinstance(parents[node], ast.stmt):
            break
        node = parents[node]
    text = ast.unparse(node)
    return text if len(text) < 60 else text[:28] + " ... " + text[-27:]


def changes(node: ast.AST, text: str):
    """Yield (label, function that changes the node in place); `text` tells where it stands."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
        new = SWAPPED[type(node.op)]
        yield f"{type(node.op).__name__} -> {new.__name__} in `{text}`", set_op(new)
    if isinstance(node, ast.AugAssign) and type(node.op) in SWAPPED:
        new = SWAPPED[type(node.op)]
        yield f"{type(node.op).__name__}= -> {new.__name__}= `{ast.unparse(node)}`", set_op(new)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        new = SWAPPED[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {new.__name__} in `{text}`", set_first_op(new)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for value in (node.value + 1, -node.value):
            if value != node.value:
                yield f"{node.value} -> {value} in `{text}`", set_value(value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert | ast.Not):
        yield f"drop sign of `{text}`", drop_sign
    if isinstance(node, ast.Attribute) and node.attr in RENAMED:
        new = RENAMED[node.attr]
        yield f"{node.attr} -> {new} in `{text}`", set_attribute(new)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RENAMED:
        yield f"{node.func.id} -> {RENAMED[node.func.id]}", rename_call
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        if not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            yield f"swap arguments of `{text}`", swap_arguments
    if isinstance(node, ast.FunctionDef | ast.For | ast.While | ast.If):
        for k, statement in enumerate(node.body):
            if len(node.body) > 1 and not isinstance(statement, ast.Return):
                yield f"delete `{ast.unparse(statement).splitlines()[0][:60]}`", delete_body(k)


def set_op(new):
    return lambda node: setattr(node, "op", new())


def set_first_op(new):
    return lambda node: node.ops.__setitem__(0, new())


def set_value(value):
    return lambda node: setattr(node, "value", value)


def set_attribute(new):
    return lambda node: setattr(node, "attr", new)


def drop_sign(node):
    node.operand = ast.UnaryOp(type(node.op)(), node.operand)  # twice is none


def rename_call(node):
    node.func.id = RENAMED[node.func.id]


def swap_arguments(node):
    node.args[0], node.args[1] = node.args[1], node.args[0]


def delete_body(k):
    return lambda node: node.body.pop(k)
