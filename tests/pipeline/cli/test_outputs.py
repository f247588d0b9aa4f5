"""Where the results of each input go."""

from pathlib import Path

import pytest

from pipeline.cli.outputs import output_bases, uploaded
from pipeline.core.errors import MercError
from pipeline.media.inputs import Input


def test_results_get_the_shortest_unique_names(tmp_path):
    def bases(*paths, out=None):
        inputs = [Input(tmp_path / p, str(Path(p).parent)) for p in paths]
        return [str(b.relative_to(out or tmp_path)) for b in output_bases(inputs, out)]

    out = tmp_path / "out"
    assert bases("a/x.mp4", "b/y.mp4", out=out) == ["x", "y"]
    assert bases("a/x.mp4", "b/x.mp4", "y.mp4", out=out) == ["a/x", "b/x", "y"]
    assert bases("a/x.mp4", "a/x.wav", out=out) == ["x.mp4", "x.wav"]
    assert bases("x.mp4", "a/x.mp4", out=out) == ["x", "a/x"]
    assert bases("a/x.mp4", "b/X.mp4", "a/x.wav") == ["a/x.mp4", "b/X", "a/x.wav"]
    named = [Input(tmp_path / "a" / "x.mp4"), Input(tmp_path / "b" / "x.mp4")]
    assert [str(b.relative_to(out)) for b in output_bases(named, out)] == ["a/x", "b/x"]
    urls = [Input(Path("x.mp4"), url=f"s3://bucket/{name}/x.mp4", bytes=1) for name in "ab"]
    assert [str(b.relative_to(out)) for b in output_bases(urls, out)] == ["a/x", "b/x"]
    bases = {str(base) for base in output_bases([*urls, *named], out)}
    assert len(bases) == 4


def test_new_and_changed_files_are_uploaded_if_nothing_fails(tmp_path):
    base = Path(f"file://{tmp_path}/out/talk")
    names = ["talk.txt", "talk.json"]
    with uploaded(base, names) as local:
        for name in names:
            local.with_name(name).write_text("old")
    there = [tmp_path / "out" / name for name in names]
    assert [path.read_text() for path in there] == ["old", "old"]
    kept = there[0].stat().st_mtime_ns
    with uploaded(base, names) as local:
        assert local.with_name("talk.txt").read_text() == "old"
        local.with_name("talk.json").write_text("new")
    assert [path.read_text() for path in there] == ["old", "new"]
    assert there[0].stat().st_mtime_ns == kept
    with pytest.raises(MercError, match=f"^file://{tmp_path}/out/talk.json: not ours$"):
        with uploaded(base, names) as local:
            local.with_name("talk.txt").write_text("lost")
            raise MercError(f"{local.with_name('talk.json')}: not ours")
    assert there[0].read_text() == "old"
