"""Pages of a dialogue, of several, and of two annotations: self-contained HTML files."""

from pipeline.exports.page.agreement import Lane, named_figures, render_agreement
from pipeline.exports.page.index import render_index
from pipeline.exports.page.page import colours_of, data_url, page_path, render_page

__all__ = [
    "Lane",
    "colours_of",
    "data_url",
    "named_figures",
    "page_path",
    "render_agreement",
    "render_index",
    "render_page",
]
