# make demo    the whole job on what the repository ships: export, verify, detect, listen, a short bench; leaves demo/
# make test    style, types and all tests but the soaks
# Both set up a virtual environment in .venv first. Another Python: make test PYTHON=python3.12 VENV=.venv-3.12

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= cpu,export,dev
MARK ?= not soak
TESTS ?=
PYTHONS ?= $(BIN)/python
RELEASE ?= bookworm
ARCH ?= $(shell dpkg --print-architecture 2>/dev/null)
GLIBC ?= 2.35
OLDEST ?= python3.10
NEWEST ?= python3.13
# A test that hangs is named, with what each thread does, and the run ends after what the others have begun. One that failed
# before it hangs is not. For longer ones: STUCK_S=0.
STUCK_S ?= 900
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
	-o faulthandler_timeout=$(STUCK_S) -o faulthandler_exit_on_timeout=true
BIN := $(VENV)/bin
comma := ,
INSTALLED := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
DEMO_INSTALLED := $(VENV)/.installed-cpu-export

.PHONY: demo test pytest nightly wheels arm deb clean

demo: $(DEMO_INSTALLED)
	$(BIN)/edgebird demo --out demo
	$(BIN)/edgebird listen --file edgebird/demo/data/three_birds.flac --bundle demo/bundle --format csv
	$(BIN)/edgebird bench demo/bundle

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL) -m "$(MARK)"

# The tests alone: for a Python without torch, make pytest EXTRAS=cpu,mic,stream,test PYTHON=python3.10 VENV=.venv-3.10
pytest: $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL) -m "$(MARK)" $(TESTS)

# Whether a device with ARM64 finds wheels of all it needs: make wheels PYTHONS="python3.10 ...", with setuptools in each.
wheels:
	.ci/wheels $(GLIBC) $(PYTHONS)

# What a device with ARM64 does, emulated, by hand as root: make arm PYTHONS="python3.11 python3.13 python3.10" (see .ci/arm).
arm: $(INSTALLED)
	.ci/arm build/arm $(BIN)/python $(PYTHONS)

# A Debian package, for one release and architecture, in dist: make deb RELEASE=trixie ARCH=arm64 PYTHON=python3.13.
# It needs dpkg, and setuptools for PYTHON, which has to be the release's version.
deb:
	.ci/debian/build $(RELEASE) $(ARCH) $(PYTHON)

# What takes too long for each change, by hand: all tests of a device on the oldest and the newest Python, Ray itself (its
# 400 MB are in no other environment), cameras for half an hour, and an hour of soak. It takes about two hours, and PulseAudio
# (see .ci/run).
nightly: $(INSTALLED)
	$(MAKE) pytest EXTRAS=cpu,mic,stream,test MARK="not soak and not slow" PYTHON=$(OLDEST) VENV=.venv-3.10
	$(MAKE) pytest EXTRAS=cpu,mic,stream,test MARK="not soak and not slow" PYTHON=$(NEWEST) VENV=.venv-3.13
	$(MAKE) pytest EXTRAS=cpu,cluster,test TESTS=tests/test_ray.py VENV=.venv-ray
	$(MAKE) pytest EXTRAS=cpu,hoplite,test PYTHON=$(OLDEST) VENV=.venv-3.10-hoplite TESTS="-rs tests/test_hoplite.py"
	EDGEBIRD_CAMERA_S=1800 $(BIN)/python -m pytest -s tests/test_camera_minute.py
	$(BIN)/python -m pytest -rs tests/test_home_assistant.py
	$(BIN)/python -m pytest -s -m soak

$(VENV)/.installed-%: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[$(subst -,$(comma),$*)]"
	@touch $@

clean:
	rm -rf .venv .venv-* build dist demo *.egg-info
