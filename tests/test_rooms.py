"""The one rule of the house: a room imports only rooms below it."""

import ast

from helpers import ROOT

FLOORS = (
    ("runs", "simulators"),
    ("dynamics", "latents"),
    ("experiment",),
    ("plotting",),
    ("systems",),
    ("project",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FACADE = ("__init__.py", "__main__.py")


def room_of(parts):
    """A system is a room of its own."""
    return "/".join(parts[:2]) if parts[0] == "systems" else parts[0].removesuffix(".py")


def imported_rooms(path):
    """The rooms that a module imports from, inside functions too."""
    here = path.relative_to(ROOT / "hjepa_utils").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            yield room_of((*base, *(node.module or node.names[0].name).split(".")))


def test_a_room_imports_only_rooms_below_it():
    modules = [p for p in (ROOT / "hjepa_utils").rglob("*.py") if p.name not in FACADE]
    arrows = {
        (room_of(p.relative_to(ROOT / "hjepa_utils").parts), to) for p in modules for to in imported_rooms(p)
    }
    floors = {(a, b): (FLOOR_OF[a.split("/")[0]], FLOOR_OF[b.split("/")[0]]) for a, b in arrows if a != b}
    assert len(modules) > 30
    assert not [arrow for arrow, (above, below) in floors.items() if above <= below], (
        "arrows that do not go down"
    )


def test_a_rooms_init_holds_one_docstring():
    inits = [p for p in (ROOT / "hjepa_utils").glob("*/**/__init__.py") if "__pycache__" not in p.parts]
    assert len(inits) >= 8
    assert all(
        ast.get_docstring(tree) and len(tree.body) == 1 for tree in (ast.parse(p.read_text()) for p in inits)
    )
