"""The documentation site (Sphinx): these pages, and the reference made from schemas and command line."""

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools")]

from reference import pages  # noqa: E402 - found by the line above

_made = ROOT / "docs" / "reference"
_made.mkdir(exist_ok=True)
for _name, _text in pages().items():
    if not (_made / _name).is_file() or (_made / _name).read_text(encoding="utf-8") != _text:
        (_made / _name).write_text(_text, encoding="utf-8")

project = "fwproof"
author = "The fwproof authors"
copyright = "The fwproof authors, under the MIT licence"  # noqa: A001 - the name that Sphinx reads
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nitpicky = True
exclude_patterns = ["_build"]
suppress_warnings = ["toc.empty_glob"]  # the last entry takes pages that nobody has put in their place

html_theme = "furo"
html_title = f"fwproof {version}"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None
# nothing is fetched from elsewhere: no font, no script, no badge
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "default"

# the same pages for the same commit
os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
