"""Sphinx over the Markdown of the repository: `make docs`. Nothing is fetched; every warning is an error."""

project = "Sesame"
author = "The Sesame authors"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]

# The source folder is the repository's root, so that links between README, docs/ and code work on a forge and here.
include_patterns = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md", "docs/**.md"]
include_patterns += ["model_repository/demo/1/CARD.md"]
exclude_patterns = [".venv", ".git", "build", "tests"]
root_doc = "docs/index"

myst_heading_anchors = 3  # links to headings are checked against these
myst_fence_as_directive = ["mermaid"]
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # answers are shortened by "…"

html_theme = "furo"
html_title = "Sesame"
html_extra_path = ["site"]  # sends / on to the first page
html_copy_source = False
html_show_sphinx = False
