# The two commands of the README are `make demo` and `make test`; `make check` is what must pass before a commit.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
BIN := $(abspath $(VENV)/bin)
PIP := $(RUN) -m pip --disable-pip-version-check -qq
TESTS ?= tests
WORKERS ?= 2
KERNEL := $(wildcard src/kernel/*.cpp src/kernel/*.h)
PACKAGE := pyproject.toml CMakeLists.txt README.md LICENSE $(KERNEL) $(shell find src/shoal -name '*.py' -o -name '*.pyi' 2>/dev/null)

SECONDS ?= 600
SEED ?= 1

.PHONY: help demo test check format stress faults promises estimators fuzz chaos build clean
help:
	@echo "make demo    install into $(VENV) and run the main example"
	@echo "make test    install what the tests need and run them all (TESTS=path WORKERS=n to narrow)"
	@echo "make check   format, lint, types, layering and tidiness"
	@echo "make format  let ruff format and mend what it can"
	@echo "make stress  the kernel's stress program under the thread and the address sanitizer"
	@echo "make faults  the long fault tests; make chaos: ten minutes of mixed work under a killer (SECONDS=, SEED=)"
	@echo "make promises  the long forms of the tests in tests/promises (10 GB of disk); make fuzz: a minute of damaged input (SECONDS=)"
	@echo "make estimators  scikit-learn's checks of estimators over both of Tune's searches, all of them over real trials"
	@echo "make build   a wheel in dist/"
	@echo "make clean   remove what was built, not $(VENV)"

# Debian's python3 may come without ensurepip: then pip is installed into the environment from outside.
$(VENV)/.pip:
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(RUN) install --quiet pip
	@touch $@

# What builds the package is installed once and used in place: an isolated build would compile the whole kernel every time.
# CMake comes with the system or, where it does not, from pip.
$(VENV)/.build: $(VENV)/.pip
	$(PIP) install "scikit-build-core>=0.10" "nanobind>=2.4" $$(command -v cmake >/dev/null || echo cmake)
	@touch $@

$(VENV)/.shoal: $(VENV)/.build $(PACKAGE)
	PATH="$(BIN):$$PATH" $(PIP) install --no-build-isolation .
	@touch $@

$(VENV)/.examples: $(VENV)/.pip pyproject.toml
	$(PIP) install $$($(RUN) tools/requirements.py examples)
	@touch $@

$(VENV)/.test: $(VENV)/.pip pyproject.toml
	$(PIP) install $$($(RUN) tools/requirements.py test)
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install $$($(RUN) tools/requirements.py dev)
	@touch $@

demo: $(VENV)/.shoal $(VENV)/.examples
	$(RUN) examples/random_forest_search.py

test: $(VENV)/.shoal $(VENV)/.test
	$(RUN) -m pytest $(TESTS) -n $(WORKERS)

faults: $(VENV)/.shoal $(VENV)/.test
	SHOAL_FAULT_TASKS=100000 $(RUN) -m pytest tests/faults --timeout 600

promises: $(VENV)/.shoal $(VENV)/.test
	SHOAL_PROMISES=long $(RUN) -m pytest tests/promises --timeout 900

estimators: $(VENV)/.shoal $(VENV)/.test
	SHOAL_ESTIMATORS=long $(RUN) -m pytest tests/tune/test_sklearn_checks.py -n $(WORKERS)

fuzz: SECONDS = 60
fuzz: $(VENV)/.shoal $(VENV)/.test
	$(RUN) tests/fuzz/fuzz.py --seconds $(SECONDS) --seed $(SEED)

chaos: $(VENV)/.shoal $(VENV)/.test
	$(RUN) tests/chaos/chaos.py --seconds $(SECONDS) --seed $(SEED)

check: $(VENV)/.shoal $(VENV)/.dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/test_layering.py tests/test_tidy.py

format: $(VENV)/.dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

build: $(VENV)/.build
	PATH="$(BIN):$$PATH" $(PIP) wheel --no-build-isolation . --no-deps --wheel-dir dist

stress: $(VENV)/.build
	@for sanitizer in thread address; do \
	  PATH="$(BIN):$$PATH" cmake -S . -B build/stress-$$sanitizer -DSHOAL_SANITIZER=$$sanitizer \
	    -DCMAKE_BUILD_TYPE=None >/dev/null && \
	  PATH="$(BIN):$$PATH" cmake --build build/stress-$$sanitizer --parallel 2 && \
	  echo "stress under the $$sanitizer sanitizer" && \
	  build/stress-$$sanitizer/shoal_stress || exit 1; \
	done

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
