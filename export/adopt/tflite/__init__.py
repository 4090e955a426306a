"""edgebird.export.adopt.tflite: a .tflite file becomes an ONNX graph, its fixed batch a free one.

flat.py       what is in the file: tensors, constants, operations
folding.py    what is known without audio: shapes, and all that is reckoned with them
network.py    the graph that is being written; layout of images, products that become one
operators.py  arithmetic and products as ONNX has them
shapes.py     what moves values and changes none
images.py     those of images: convolutions, pooling, padding
spectra.py    Fourier transforms as products with constants
convert.py    the walk through the file

Shapes are reckoned for two batch sizes at once: what differs between them is the batch, whatever the file calls it.
TensorFlow's own converter for this direction (tf2onnx) looks for a maintainer and wants all of TensorFlow.
"""
