"""The plugin's version, and the minor versions of TensorFlow that it builds against. Nothing else in the code states them."""

VERSION = "0.1.0"

# Those that tools/matrix.py builds and tests.
TENSORFLOW_MINORS = ["2.16", "2.17", "2.18", "2.19", "2.20", "2.21"]
