"""Types of the package and of the Python in its pages, by basedpyright: `python tests/check_types.py`."""

import re
import runpy
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "hjepa_utils/README.md", "hjepa_utils/assets/embedded_vjepa2/README.md")


def snippets(page):
    """The page's blocks of Python as one module, without those for Colab alone."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(block for block in blocks if "google.colab" not in block)


def main():
    settings = ["--project", ROOT / "tests" / "pyrightconfig.json", "--pythonpath", sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        for page in PAGES:
            (Path(folder) / f"{page.replace('/', '_')}.py").write_text(snippets(page))
        sys.argv[1:] = map(str, (*settings, ROOT / "hjepa_utils", folder))
        runpy.run_module("basedpyright", run_name="__main__")  # ends with its exit status


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
