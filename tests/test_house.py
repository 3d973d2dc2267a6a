"""What keeps the house livable: no class that does many jobs."""

import ast
from pathlib import Path

import recbole_enhance

MOST_ATTRIBUTES = 20


def attributes_of(tree):
    """Class -> names that its own methods assign to ``self``, and its annotated fields."""
    found = {}
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        names = {n.target.id for n in cls.body if isinstance(n, ast.AnnAssign)}
        methods = [n for n in cls.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        for node in (inner for method in methods for inner in ast.walk(method)):
            stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if stored and isinstance(node.value, ast.Name) and node.value.id == "self":
                names.add(node.attr)
        found[cls.name] = names
    return found


def test_attributes_are_counted():
    tree = ast.parse(
        "class A:\n"
        "    field: int\n"
        "    def f(self):\n"
        "        self.a, self.b = self.c = 1, 2\n"
        "        self.a += 1\n"
        "        self.d: int = 3\n"
        "        other.e = self.f = self.g.h\n"
    )
    assert attributes_of(tree) == {"A": {"field", "a", "b", "c", "d", "f"}}


def test_no_class_has_many_attributes():
    root = Path(recbole_enhance.__file__).parent
    large = {
        f"{path.relative_to(root)}:{name}": len(names)
        for path in root.rglob("*.py")
        for name, names in attributes_of(ast.parse(path.read_text(encoding="utf-8"))).items()
        if len(names) > MOST_ATTRIBUTES
    }
    assert large == {}
