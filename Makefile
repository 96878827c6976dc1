# make demo    hear a sentence, see it gestured: out/speech.html, .bvh, .png
# make train   train the small model on the talking puppet (a quarter of an hour on two CPU cores), score it
# make test    the tests
# make lint    the formatter and the linter, which change nothing
# make bench   how fast this machine does all of it: results/bench-MACHINE.json
# make clean   removes .venv and out, which are made again in a minute; trained models stay in runs
# Each builds .venv first if it is missing; PYTHON=python3.12 make demo chooses another Python.
PYTHON ?= python3

.PHONY: demo train test lint bench clean

demo: .venv/ready
	.venv/bin/python sample.py assets/speech.wav --out out
	@echo
	@echo "Open out/speech.html in a browser. For Blender:"
	@echo "            blender --python show/blender.py -- out/speech.bvh assets/speech.wav"
	@echo "Try next:   .venv/bin/python sample.py YOUR_RECORDING.wav --seed 1"
	@echo "            .venv/bin/python train.py      (a quarter of an hour on two CPU cores)"

train: .venv/ready
	.venv/bin/python train.py
	.venv/bin/python -m lab.evaluate --checkpoint runs/puppet/model.pt --data puppet \
		--json runs/puppet/scores.json

test: .venv/ready-dev
	.venv/bin/python -m pytest

lint: .venv/ready-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

bench: .venv/ready
	.venv/bin/python -m lab.bench

# The empty files say that pip ran to its end: an interrupted install is done again.
.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch .venv/ready

.venv/ready-dev: .venv/ready requirements-dev.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch .venv/ready-dev

clean:
	rm -rf .venv out
