"""One run on a computer with an NVIDIA GPU that nobody here has: is it right, how fast, how much energy.

`benchmarks/on_device.sh` starts it. Steps follow one another, each a process with a limit and a log of its own; one
that fails costs itself alone. After each step there is a report to send back.

run.py        the command: options, what is said at the end
steps.py      which steps there are
runner.py     runs them, and packs the report
checks.py     what a step asks beyond edgebird's own commands, a line of JSON for each finding
attempts.py   what checks have in common
facts.py      the driver, the system and pip in their own words
algorithms.py ONNX Runtime on CUDA: cuDNN's algorithms, TF32, CUDA graphs
cuda_calls.py CUDA's own calls, as TensorRT's runtime makes them, with the real driver
session.py    ONNX Runtime's session with other options, fed as edgebird feeds it
feeding.py    what an inference costs beyond the GPU, and whether copies hold it up
lanes.py      TensorRT's runtime, where ONNX Runtime computes in TensorRT's place
load.py       energy at several batches, and half an hour of recording
kernels.py    what the GPU does in an inference, by time
targets.py    edgebird beside the original on the same GPU, in turns
original.py   the original's TorchScript in a process of its own
"""
