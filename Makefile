# make demo | quick | test | check | chaos | bench | speedrun | gpu | against: each sets itself up in .venv, from pinned versions.

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo

.PHONY: demo quick test check chaos bench speedrun gpu against clean

demo: .venv/demo
	@test -e $(DEMO)/varied/strip.png && echo "$(DEMO) is there already: look at $(DEMO)/samples/grid.png, or make clean" || { \
	$(BIN)/alphabar train digits --minutes 5 --out $(DEMO)/run && \
	rm -rf $(DEMO)/samples $(DEMO)/sevens $(DEMO)/varied && \
	$(BIN)/alphabar sample $(DEMO)/run -n 64 --out $(DEMO)/samples --trajectory && \
	$(BIN)/alphabar sample $(DEMO)/run -n 16 --class 7 --out $(DEMO)/sevens && \
	$(BIN)/alphabar edit vary $(DEMO)/run $(DEMO)/samples/000000.png --class 8 --t 600 --out $(DEMO)/varied && \
	echo "look at $(DEMO)/samples/grid.png, $(DEMO)/samples/trajectory.gif, $(DEMO)/sevens/grid.png, $(DEMO)/varied/strip.png"; }

quick: .venv/dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test: .venv/dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not thorough and not chaos"

chaos: .venv/dev
	$(BIN)/python -m pytest -n auto --dist worksteal tests/test_chaos_*.py

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(MAKE) test
	$(BIN)/python -m pytest -m thorough
	ALPHABAR_TEST_WAY="bfloat16, channels_last" $(BIN)/python -m pytest -n auto tests/test_training.py tests/test_hidden.py tests/test_resume.py
	rm -rf dist .venv/wheel && $(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target .venv/wheel dist/*.whl
	PYTHONPATH=.venv/wheel $(BIN)/python -c "import alphabar as a; print(a.__file__, a.__version__); assert 'wheel' in a.__file__; a.train"

bench: .venv/bench/ready
	.venv/bench/bin/python benchmarks/speed.py
	@echo "the quality after some minutes of training, beside other programs: make speedrun"

# ENTRIES="alphabar diffusers_lean" and SEEDS="0 1 2" as well, if they are given.
speedrun: $(if $(and $(DATASET),$(DATA),$(MINUTES)),.venv/bench/ready)
	@$(if $(and $(DATASET),$(DATA),$(MINUTES)), \
	.venv/bench/bin/python benchmarks/speedrun/run.py --dataset $(DATASET) --data "$(DATA)" --minutes $(MINUTES) \
	$(if $(ENTRIES),--entries $(ENTRIES)) $(if $(SEEDS),--seeds $(SEEDS)) --table, \
	echo "say what to run: make speedrun DATASET=mnist DATA=mnist.npz MINUTES=5"; \
	echo "DATASET is mnist, fashion, cifar10 or diamonds; benchmarks/speedrun/README.md says what DATA must be"; exit 2)

# On a machine with a GPU: what must hold there, how fast it is, and the ten minutes of the speedrun if CIFAR says where.
gpu: .venv/bench/ready
	.venv/bench/bin/python -m pytest tests/test_gpu.py tests/test_apart.py
	.venv/bench/bin/python benchmarks/speed.py
	$(if $(CIFAR),.venv/bench/bin/python benchmarks/speedrun/run.py --dataset cifar10 --data "$(CIFAR)" --minutes 10 \
	--entries alphabar diffusers_lean --table,@echo "ten minutes of CIFAR-10 as well: make gpu CIFAR=FOLDER")

against: .venv/bench/ready
	.venv/bench/bin/python -m pytest tests/test_against_*.py

.venv/bench/ready: constraints.txt pyproject.toml benchmarks/requirements.txt benchmarks/peers.txt
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[tables]" -r benchmarks/requirements.txt
	.venv/bench/bin/pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	.venv/bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt psutil pyyaml scipy tqdm
	touch $@

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[digits]"
	touch $@

.venv/dev: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ .venv/demo

clean:
	rm -rf $(DEMO) dist build
