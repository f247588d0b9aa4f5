"""Errors and warnings."""

import pickle

import pytest

from pipeline.core.errors import MercError, MercWarning, UsageError
from pipeline.media.containers import MediaError


@pytest.mark.parametrize("kind", [MercError, UsageError, MediaError])
@pytest.mark.parametrize("arguments", [("x: bad; very", "mend it"), ("x: bad",)])
def test_an_error_survives_pickling(kind, arguments):
    error = kind(*arguments)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is kind and str(copy) == str(error) == "; ".join(arguments)
    assert (copy.reason, copy.remedy) == (arguments[0], "".join(arguments[1:]))
    assert isinstance(error, ValueError)


def test_a_warning_names_its_subject():
    warning = MercWarning("talk.mp4", "no audio stream")
    assert str(warning) == "talk.mp4: no audio stream"
    assert str(MercWarning("", "approximate")) == "approximate"
    assert pickle.loads(pickle.dumps(warning)) == warning  # noqa: S301
