"""A page for one dialogue, and an index of several: self-contained HTML files."""

from pipeline.exports.page.index import render_index
from pipeline.exports.page.page import colours_of, data_url, page_path, render_page

__all__ = ["colours_of", "data_url", "page_path", "render_index", "render_page"]
