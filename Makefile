# make demo    hear a sentence, see it gestured: out/speech.html, .bvh, .png
# make test    the tests
# make bench   how fast this machine does all of it, as ratios and seconds: results/bench-MACHINE.json
# make train   train the small model on the talking puppet (ten minutes on two CPU cores)
# make clean   removes .venv and out, which are made again in a minute; what was trained stays in runs
# Each builds .venv first if it is missing; PYTHON=python3.12 make demo chooses another Python.
PYTHON ?= python3

.PHONY: demo test bench train clean

demo: .venv/ready
	.venv/bin/python sample.py assets/speech.wav --out out
	@echo
	@echo "Open out/speech.html in a browser, or out/speech.bvh in Blender (File > Import > Motion Capture)."
	@echo "Try next:   .venv/bin/python sample.py YOUR_RECORDING.wav --seed 1"
	@echo "            .venv/bin/python train.py          (trains this model, ten minutes on two CPU cores)"

test: .venv/ready-dev
	.venv/bin/python -m pytest

bench: .venv/ready
	.venv/bin/python bench.py

train: .venv/ready
	.venv/bin/python train.py

# The empty files say that pip ran to its end: an interrupted install is done again, not taken for a whole one.
.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch .venv/ready

.venv/ready-dev: .venv/ready requirements-dev.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch .venv/ready-dev

clean:
	rm -rf .venv out
