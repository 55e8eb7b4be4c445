"""@cutlass//:cutlass: CUTLASS's headers, from its pip package.

Only fetched where @local_config_cuda has a toolkit, because nothing else depends on it.
"""

_VERSION = "4.2.0.0"

_BUILD = """
cc_library(
    name = "cutlass",
    hdrs = glob(["include/**"]),
    includes = ["include"],
    visibility = ["//visibility:public"],
)
"""

def _cutlass_impl(repository_ctx):
    python = repository_ctx.os.environ.get("PYTHON_BIN_PATH", "python3")

    # Its dependencies are for its Python parts.
    install = repository_ctx.execute(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", "pip"] +
        ["nvidia-cutlass==" + _VERSION],
    )
    if install.return_code != 0:
        fail("pip cannot install nvidia-cutlass==%s, which CUDA=0 builds without:\n%s" % (_VERSION, install.stderr))
    repository_ctx.symlink("pip/cutlass_library/source/include", "include")
    repository_ctx.file("BUILD", _BUILD)

cutlass = repository_rule(
    implementation = _cutlass_impl,
    environ = ["PYTHON_BIN_PATH"],
)
