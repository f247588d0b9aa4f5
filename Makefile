# Two commands: `make demo` labels the example dialogue, `make test` checks everything.  Each works on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint browser docs clean

demo: .venv/ready
	$(BIN)/merc label examples/dialogue.mp4 --format json,csv,srt --out runs/demo

test: .venv/ready lint browser
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# the tests of the page drive Chromium
browser: .venv/ready
	@command -v chromium || command -v google-chrome || $(BIN)/playwright install --with-deps chromium

# the site, in runs/site; a test builds it, too
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

# written last, so that an interrupted installation is begun again
.venv/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
