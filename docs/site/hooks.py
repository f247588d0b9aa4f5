"""Hooks of mkdocs.yml: pages keep their places in the repository.

The files of the site have their paths in the repository ("README.md", "docs/page.md",
"css_model/weights/merc-offline.md"), so a relative link leads to the same page on GitHub and in
the site. MkDocs alone would only read the folder docs/.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

__all__ = ["on_files"]

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = ("*.md", "docs/*", "css_model/weights/*.md", "extractors/weights/*.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by the pages and pictures of the repository."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    pages = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for pattern in PATTERNS
        for path in sorted(ROOT.glob(pattern))
        if path.is_file()
    ]
    return Files([*theme, *pages])
