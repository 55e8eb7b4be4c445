"""The part of the wheel's metadata that depends on what was built; the rest is in pyproject.toml."""

import runpy

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel

BUILD_INFO = runpy.run_path("python/tensorflow_conv_backprop/_build_info.py")
TENSORFLOW_MINOR = ".".join(BUILD_INFO["TENSORFLOW_VERSION"].split(".")[:2])


class Package(Distribution):
    """One with a compiled library, though setuptools has not compiled it."""

    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    """A wheel for this platform and any Python 3: the library does not use Python's binary interface."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    version=BUILD_INFO["VERSION"],
    # The same TensorFlow comes as two distributions that overwrite each other's files, tensorflow and tensorflow-cpu, and
    # a dependency cannot say "either". A plain one on tensorflow would break every installed tensorflow-cpu, so the
    # choice is the user's: `pip install tensorflow-conv-backprop[cpu]`. Importing checks the version however it came.
    extras_require={
        "cli": ["matplotlib>=3.8,<4", "rich>=13,<16"],
        "cpu": [f"tensorflow-cpu~={TENSORFLOW_MINOR}.0"],
        "tensorflow": [f"tensorflow~={TENSORFLOW_MINOR}.0"],
        "gpu": [f"tensorflow[and-cuda]~={TENSORFLOW_MINOR}.0"],
    },
    distclass=Package,
    cmdclass={"bdist_wheel": PlatformWheel},
)
