"""@local_config_tf: the headers and libraries of the TensorFlow that one Python has installed.

    :headers      what an op and its kernels include, with TensorFlow's own preprocessor definitions
    :xla_headers  those, and what an XLA lowering includes on top
    :libtensorflow_framework.so.2, :libtensorflow_cc.so.2
    :version.bzl  TF_VERSION; HAS_XLA and HAS_XLA_FFI, whether this TensorFlow has what an XLA lowering needs, and
                  a typed custom call

The Python is $PYTHON_BIN_PATH (tools/setup.sh sets it to the one in .venv), or python3.
"""

load("//:version.bzl", "TENSORFLOW_MINORS")

# TensorFlow itself is asked, because its ABI flags differ between versions and are recorded nowhere else.
_QUERY = """
import json
import tensorflow as tf
print(json.dumps({
    "version": tf.__version__,
    "lib": tf.sysconfig.get_lib(),
    "include": tf.sysconfig.get_include(),
    "defines": [flag[2:] for flag in tf.sysconfig.get_compile_flags() if flag.startswith("-D")],
}))
"""

_XLA = [
    "include/tensorflow/compiler/tf2xla/kernels/conv_op_helpers.h",
    "libtensorflow_cc.so.2",
]

# Headers of LLVM that 2.19's XLA headers include, in what describes a GPU's tensor memory accelerator, and that its wheel
# lacks. What they declare there is never called here; these stand-ins let it compile.
_LLVM_STAND_INS = {
    "ArrayRef.h": """#pragma once
#include "absl/types/span.h"
namespace llvm {
template <typename T>
using ArrayRef = absl::Span<const T>;
}
""",
    "SmallVector.h": """#pragma once
#include <vector>
namespace llvm {
template <typename T>
using SmallVector = std::vector<T>;
}
""",
}

# Of 2.17 to 2.19 the wheels have the C interface beside it, and not this.
_XLA_FFI = "include/xla/ffi/api/ffi.h"

_BUILD = """
package(default_visibility = ["//visibility:public"])

exports_files([
    "libtensorflow_cc.so.2",
    "libtensorflow_framework.so.2",
])

cc_library(
    name = "headers",
    hdrs = glob(["include/**"], exclude = ["include/external/**"]),
    defines = {defines},
    includes = ["include"],
)

cc_library(
    name = "xla_headers",
    hdrs = glob(["include/external/**", "llvm_stand_ins/**"]),
    includes = [
        "llvm_stand_ins",
        "include/external",
        "include/external/farmhash_archive/src",
        "include/external/highwayhash",
    ],
    deps = [":headers"],
)
"""

def _tf_configure_impl(repository_ctx):
    python = repository_ctx.os.environ.get("PYTHON_BIN_PATH", "python3")
    answer = repository_ctx.execute(
        [python, "-c", _QUERY],
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )
    if answer.return_code != 0:
        fail("%s cannot import TensorFlow; run tools/setup.sh first.\n%s" % (python, answer.stderr))
    tf = json.decode(answer.stdout)
    if ".".join(tf["version"].split(".")[:2]) not in TENSORFLOW_MINORS:
        fail("%s has TensorFlow %s; this plugin builds against %s" %
             (python, tf["version"], ", ".join(TENSORFLOW_MINORS)))

    repository_ctx.symlink(tf["include"], "include")
    for library in ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"]:
        repository_ctx.symlink(tf["lib"] + "/" + library, library)
    if not repository_ctx.path("include/llvm").exists:
        for name, text in _LLVM_STAND_INS.items():
            repository_ctx.file("llvm_stand_ins/llvm/ADT/" + name, text)
    has_xla = all([repository_ctx.path(name).exists for name in _XLA])
    has_xla_ffi = has_xla and repository_ctx.path(_XLA_FFI).exists
    repository_ctx.file("version.bzl", "TF_VERSION = %s\nHAS_XLA = %s\nHAS_XLA_FFI = %s\n" %
                                       (repr(tf["version"]), has_xla, has_xla_ffi))
    repository_ctx.file("BUILD", _BUILD.format(defines = repr(tf["defines"])))

tf_configure = repository_rule(
    implementation = _tf_configure_impl,
    # TENSORFLOW is read by tools/setup.sh alone; naming it here has another TensorFlow in the same .venv noticed.
    environ = ["PYTHON_BIN_PATH", "TENSORFLOW"],
    local = True,
)
