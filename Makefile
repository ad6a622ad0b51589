# make demo   shows the main job, in an environment of its own (.venv)
# make test   runs the tests on every supported Python found (.venv-X.Y), and the linters
#             PYTHONS="python3.12 /opt/python3.13/bin/python" chooses the Pythons
# make again  runs what failed in the last `make test` once more
# make lint   runs the linters alone
# make conformance  runs CPython's own tests (core and network), stock and patched: an hour
#             TESTS="core test_ssl" chooses sets or modules, MODE=late or undone when to patch
# make fuzz   runs random concurrent programs, stock and patched, on every Python found
#             ARGS="--count 5000 --jobs 2" and the like are passed on (ARGS=--help lists them)
# make bench  measures this runtime beside its peers; ARGS="--quick" and the like are passed on
# make sanitize  runs tests over a core built with ASan and UBSan (gcc); TESTED="tests/io" chooses
# make clean  removes the environments
#
# make several  runs tests with four kernels in a process (PROCESSORS=2 SPREAD=tests/io choose)
#
# Needs only Python and make; a C compiler builds the core. The
# environments are made again when pyproject.toml or the core changes.  Tests run over the compiled
# core where there is one, on the versions in IN_PYTHON over the Python that it stands for.  Tests
# marked `newest`, which say the same on every version, run on the newest one.

FOUND := $(shell PYTHONS="$(PYTHONS)" sh .ci/pythons)
VERSIONS := $(foreach found,$(FOUND),$(firstword $(subst =, ,$(found))))
python = $(patsubst $(1)=%,%,$(filter $(1)=%,$(FOUND)))
NEWEST := $(lastword $(VERSIONS))
IN_PYTHON = 3.12
FORM = auto
LIMIT =
CORES = $(filter $(IN_PYTHON),$(VERSIONS))
form = $(if $(filter $(1),$(IN_PYTHON)),python,$(FORM))
TESTS = core network
MODE = patched
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

ifeq ($(VERSIONS),)
$(error no Python 3.11 or newer with venv and ensurepip found; set PYTHONS to the paths of some)
endif

CORE = setup.py $(wildcard capriccio_patch/*/*.c capriccio_patch/*/*.h)

.PHONY: demo test again several lint conformance fuzz bench sanitize clean
.SECONDARY:

demo: .venv/.stamp
	.venv/bin/python examples/demo.py

test: lint $(VERSIONS:%=test-%) $(CORES:%=core-%)

lint: .venv-$(NEWEST)/.stamp
	@echo "== linters"
	$(<D)/bin/ruff check
	$(<D)/bin/ruff format --check
	$(<D)/bin/mypy
	$(<D)/bin/mypy --platform darwin --exclude 'capriccio_patch/(audit|bench)' capriccio_patch

bench: bench-$(NEWEST)

bench-%: .venv-bench-%/.stamp
	$(<D)/bin/python -m capriccio_patch.bench peers --json bench-$*.json --plots bench-$* $(ARGS)

# What a version need not run: everything but `newest` where there is a newer one.
some = $(if $(filter $(NEWEST),$(1)),,-m 'not newest')

# $(call suite,FORM,NAME,TESTS): how it ended is kept for `again`; 1 is failed tests, more a crash.
# LIMIT="timeout --signal=ABRT 1500" ends it, with the stacks of its threads.
suite = CAPRICCIO_CORE=$(1) $(LIMIT) $(<D)/bin/python -m pytest -o cache_dir=$(<D)/.cache-$(2) $(3); \
  ended=$$?; echo $$ended >$(<D)/.ended-$(2); exit $$ended

# $(call once_more,FORM,NAME,TESTS): what failed there.
once_more = case $$(cat $(<D)/.ended-$(2)) in \
    0) ;; \
    1) echo "== Python $*, $(2), again, what failed"; \
       CAPRICCIO_CORE=$(1) $(LIMIT) $(<D)/bin/python -m pytest \
         -o cache_dir=$(<D)/.cache-$(2) --last-failed $(3) ;; \
    *) echo "== Python $*, $(2), again, all of it: the run was broken off"; \
       CAPRICCIO_CORE=$(1) $(LIMIT) $(<D)/bin/python -m pytest $(3) ;; \
  esac

test-%: .venv-%/.stamp
	@echo "== Python $*"
	@$(call suite,$(call form,$*),suite,$(call some,$*))

core-%: .venv-%/.stamp
	@echo "== Python $*, compiled core"
	@$(call suite,$(FORM),core,tests/core tests/kernel)

again: lint $(VERSIONS:%=again-%) $(CORES:%=again-core-%)

again-core-%: .venv-%/.stamp
	@$(call once_more,$(FORM),core,tests/core tests/kernel)

again-%: .venv-%/.stamp
	@$(call once_more,$(call form,$*),suite,$(call some,$*))

# Stacks are left out: those of greenlets lie on top of each other.  The tree keeps no such core.
SEVERAL = $(firstword $(filter 3.13,$(VERSIONS)) $(filter-out 3.11,$(NEWEST)))
PROCESSORS = 4
SPREAD = tests/kernel tests/processors tests/wrappers/threads tests/wrappers/sockets tests/io
several: $(SEVERAL:%=several-%)

several-%: .venv-%/.stamp
	@echo "== Python $*, $(PROCESSORS) kernels"
	@CAPRICCIO_PROCESSORS=$(PROCESSORS) $(call suite,auto,several,$(SPREAD))

TESTED = tests/core tests/libraries tests/kernel tests/wrappers/threads tests/wrappers/sockets tests/signals
SANITIZED = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined --param asan-stack=0
LIBRARIES = $(foreach name,asan ubsan stdc++,$(shell gcc -print-file-name=lib$(name).so))

sanitize: sanitize-$(NEWEST)

sanitize-%: .venv-%/.stamp
	@echo "== Python $*, sanitized"
	CC=gcc CFLAGS="$(SANITIZED)" $(<D)/bin/python setup.py -q build_ext --inplace --force \
	  --build-temp build/sanitized-$*
	@LD_PRELOAD="$(LIBRARIES)" PYTHONMALLOC=malloc CAPRICCIO_CORE=compiled \
	  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  ASAN_OPTIONS=detect_leaks=0:replace_intrin=0:handle_segv=0:use_sigaltstack=0 \
	  $(<D)/bin/python -m pytest -p no:cacheprovider --timeout 600 $(TESTED); ended=$$?; \
	  $(<D)/bin/python setup.py -q build_ext --inplace --force; exit $$ended

conformance: $(VERSIONS:%=conformance-%)

conformance-%: .venv-%/.stamp
	@echo "== CPython's tests on Python $*"
	$(<D)/bin/python tests/conformance --mode $(MODE) $(TESTS)

fuzz: $(VERSIONS:%=fuzz-%)

fuzz-%: .venv-%/.stamp
	@echo "== random programs on Python $*"
	$(<D)/bin/python tests/fuzz $(ARGS)

.venv/.stamp: pyproject.toml $(CORE)
	$(call python,$(NEWEST)) -m venv --clear .venv
	.venv/bin/python $(PIP_INSTALL) --editable .
	.venv/bin/python -m compileall -q capriccio_patch
	touch $@

# Peers that can't be installed here are left out; without plots there are tables.
.venv-bench-%/.stamp: pyproject.toml $(CORE)
	$(call python,$*) -m venv --clear .venv-bench-$*
	.venv-bench-$*/bin/python $(PIP_INSTALL) --editable .
	.venv-bench-$*/bin/python $(PIP_INSTALL) --editable '.[bench]' || \
	  for peer in gevent eventlet uvloop matplotlib; do \
	    .venv-bench-$*/bin/python $(PIP_INSTALL) $$peer || echo "$$peer can't be installed"; \
	  done
	.venv-bench-$*/bin/python -m compileall -q capriccio_patch
	touch $@

# C libraries that the tests use where there is a wheel of them.
WHEELS = psycopg2-binary psycopg[binary] pyzmq pyopenssl grpcio pycurl uvloop fastrlock lmdb apsw \
  posix_ipc sysv_ipc faster-fifo

# What the tests of Celery's pool and of the recipes in docs/servers.md need, on one version.
RECIPES = celery[redis] django fastapi hypercorn pytest-xdist sqlalchemy uvicorn
RECIPES_ON = 3.13

.venv-%/.stamp: pyproject.toml $(CORE)
	$(call python,$*) -m venv --clear .venv-$*
	.venv-$*/bin/python $(PIP_INSTALL) --editable '.[test,dev]'
	for each in $(WHEELS); do \
	  .venv-$*/bin/python $(PIP_INSTALL) --only-binary :all: "$$each" || echo "no wheel of $$each"; \
	done
	$(if $(filter $(RECIPES_ON),$*),.venv-$*/bin/python $(PIP_INSTALL) --only-binary :all: $(RECIPES) \
	  || echo "the recipes can't be run")
	.venv-$*/bin/python -m compileall -q capriccio_patch
	touch $@

clean:
	rm -rf .venv .venv-* build capriccio_patch/core/*.so bench-* *.egg-info .mypy_cache .pytest_cache .ruff_cache
