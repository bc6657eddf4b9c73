"""What every committed notebook must look like, read from its JSON; nothing is executed."""

import ast
import json
import re
from itertools import pairwise

import nbformat
import pytest
from helpers import ROOT
from IPython.core.inputtransformer2 import TransformerManager

from hjepa_utils.project.address import SET_IN_CELL, colab_badge
from hjepa_utils.project.publish import MAX_NOTEBOOK_KB

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/+])/[\w.-]+/[\w./-]+")
DATA_URI = re.compile(r"data:[^\"'\s)]+")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def is_folded(cell):
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def syntax_tree(cell):
    return ast.parse(TransformerManager().transform_cell(cell.source))  # turns `!` and `%` lines into Python


def texts(notebook):
    """Everything that the outputs show as text."""
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def test_notebooks_are_numbered_without_gaps():
    """Every system has its ten: 1 to 9, from 10, from 20, …"""
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers[0] == 1
    for before, number in pairwise(numbers):
        assert number == before + 1 or (number % 10 == 0 and number > before)


def test_is_short_enough_to_read(path, notebook):
    """A code cell fits on a screen, but for the folded ones: the set-up, bookkeeping, and what draws."""
    open_cells = [cell for cell in notebook.cells if not is_folded(cell)]
    lines = [cell.source.splitlines() for cell in open_cells if cell.cell_type == "code"]
    code = [sum(bool(line.strip()) and not line.strip().startswith("#") for line in cell) for cell in lines]
    assert len(open_cells) <= 36
    assert max(code) <= 32
    assert path.stat().st_size <= MAX_NOTEBOOK_KB * 1000


def test_folded_cells_have_a_title(notebook):
    """Of a folded cell Colab shows the title alone."""
    for cell in filter(is_folded, notebook.cells):
        assert cell.source.startswith("# @title ") and cell.metadata["cellView"] == "form"


def test_figure_cells_are_folded_under_a_title(notebook):
    for cell in tagged(notebook, "figure"):
        assert cell.source.startswith("# @title Figure")
        assert cell.metadata["cellView"] == "form" and cell.metadata["jupyter"]["source_hidden"]


def test_begins_with_a_title_and_the_set_up_folded_away(notebook):
    title, set_up = notebook.cells[:2]
    assert title.cell_type == "markdown" and title.source.startswith("# ")
    assert set_up.cell_type == "code" and set_up.source.startswith("# @title Set up\n")
    assert set_up.metadata == {"cellView": "form", "jupyter": {"source_hidden": True}}
    assert set_up.outputs == []


def test_the_set_up_is_the_same_in_all_notebooks():
    assert len({nbformat.read(path, as_version=4).cells[1].source for path in NOTEBOOKS}) == 1


def test_has_a_colab_badge_only_for_an_address_that_was_set(path, notebook):
    """A badge or a clone of a name that nobody here owns would run a stranger's code."""
    (found,) = SET_IN_CELL.findall(notebook.cells[1].source)
    _, address, _, commit, _ = found.split('"')
    badges = re.findall("colab-badge|colab.research.google.com/github", str(notebook.cells))
    assert bool(address) == bool(commit) == bool(badges)
    if address:
        assert re.fullmatch("[0-9a-f]{40}", commit)
        assert notebook.cells[0].source.split("\n\n")[1] == colab_badge(address, path.name)
        assert len(badges) == 2


def test_is_saved_as_publishing_saves_it(path):
    """Otherwise a refresh of the outputs or of the address would change every line."""
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"


def test_has_one_parameters_cell_with_literals_only(notebook):
    (cell,) = tagged(notebook, "parameters")
    statements = syntax_tree(cell).body
    assert all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in statements)
    defaults = {s.targets[0].id: ast.literal_eval(s.value) for s in statements}
    assert defaults["SCALE"] == "quick"  # nbval cannot set it, and the committed outputs are quick
    assert "SEED" in defaults


def test_reads_the_scale_in_one_cell_only(notebook):
    def reads_scale(cell):
        names = (node for node in ast.walk(syntax_tree(cell)) if isinstance(node, ast.Name))
        return any(name.id == "SCALE" and isinstance(name.ctx, ast.Load) for name in names)

    assert sum(reads_scale(cell) for cell in code_cells(notebook)) == 1


def test_was_executed_in_order_without_errors(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_holds_nothing_of_the_run_or_the_machine(notebook):
    assert not tagged(notebook, "injected-parameters")
    assert not {"papermill", "widgets"} & set(notebook.metadata)
    found = [match for text in texts(notebook) for match in ABSOLUTE_PATH.findall(DATA_URI.sub("", text))]
    assert not found, "outputs hold absolute paths"


def test_prints_no_warnings_and_no_progress_bars(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_pictures_are_there_in_words_too_and_small(path, notebook):
    """GitHub plays a GIF at once, whatever its size."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for words, link in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
        picture = path.parent / link
        assert words and picture.is_file()
        assert picture.suffix != ".gif" or picture.stat().st_size <= 100_000
