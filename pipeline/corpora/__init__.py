"""Readers of corpora: IEMOCAP and MELD (published feature files and raw releases), and tables."""

from pipeline.corpora.source import Source, find_release, find_source, read_corpus

__all__ = ["Source", "find_release", "find_source", "read_corpus"]
