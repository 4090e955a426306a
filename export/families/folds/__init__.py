"""edgebird.export.families.folds: the fold models of BirdCLEF 2023's 4th place, exp105 to exp108.

family.py       what the exporter is told of them
experiments.py  the four experiments, and how to tell them apart
network.py      the original network, literal and un-frozen
load.py         from checkpoints to original networks
golden.py       the golden windows, and what the original networks say of them
freeze.py       the same function as constants and few operators
frontend.py     the same for what makes the image of the audio
fourier.py      the constants of its Fourier transform
labels.py       the 264 classes of BirdCLEF 2023
"""
