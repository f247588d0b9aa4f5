# Two commands: `make demo` labels the example dialogue, `make test` checks everything.  Each works on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint browser docs audit clean

demo: .venv/ready
	$(BIN)/merc label examples/dialogue.mp4 --format json,csv,srt --out runs/demo

# threads that have nothing to do sleep, so that two files of tests at a time share the cores
test: .venv/ready lint browser
	HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile

# the tests of the page drive Chromium
browser: .venv/ready
	@command -v chromium || command -v google-chrome || $(BIN)/playwright install --with-deps chromium

# the site, in runs/site; a test builds it, too
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

# known vulnerabilities of what is installed, from osv.dev
audit: .venv/ready
	@if curl --silent --fail --max-time 10 https://api.osv.dev/v1/vulns/PYSEC-2018-28 >/dev/null; then \
		$(BIN)/pip install --quiet pip-audit && $(BIN)/pip-audit --vulnerability-service osv --skip-editable; \
	else \
		echo "NOT AUDITED: api.osv.dev cannot be reached, so the dependencies were not checked"; \
	fi

# written last, so that an interrupted installation is begun again; uv installs in a minute what takes
# pip ten, but does not read pip's settings, so where it fails, pip tries.  Both compile all modules: where
# Python may not write bytecode later, each start of merc would compile torch, which takes twice as long
.venv/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet uv && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		--editable '.[dev]' || $(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/python -m compileall -q css_model extractors pipeline
	touch $@

clean:
	rm -rf .venv runs
