"""edgebird.export.precisions: the finished FP32 graph -> one of lower precision, proven before it is written.

audio.py     real windows: to calibrate with, and others to prove with
backbone.py  the part that may lose precision: which nodes, in which blocks, how much of the work
fp16.py      the backbone in FP16 (each further precision is a file beside it that makes candidates)
int8.py      convolutions in INT8: as many as the scores bear, chosen by what each does to them
int8_fp16.py these, and the rest of the backbone in FP16
rounding.py  one convolution in INT8: range of the input, rounding of the weights
qdq.py       how that is written as a graph
stepwise.py  the FP32 graph computed node by node
trial.py     what convolutions in INT8 do to the scores, alone and together
lower.py     converts and proves
gate.py      holds a candidate to its tolerance; a failure names window and layers
"""
