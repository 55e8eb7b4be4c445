"""@local_config_cuda: the CUDA toolkit to build GPU kernels with, or none.

    :cuda         the runtime's headers and libcudart_static.a
    :config.bzl   CUDA_VERSION, such as "13.0", or None where the plugin is built for the CPU alone;
                  NVCC, its path; ARCHITECTURES, the compute capabilities to compile for; OLDEST, that of the PTX of
                  the kernels without tensor cores

Looks into $CUDA_HOME, then /usr/local/cuda, then for NVIDIA's pip packages beside the Python in $PYTHON_BIN_PATH.
$CUDA is 0 for a build without, 1 for an error where there is no toolkit, auto (the default) for a build with what is
found. $CUDA_ARCHITECTURES lists the compute capabilities, by default those of 75, 80, 90, 100 and 120 that the toolkit
knows.
"""

# One for each generation: a device runs the machine code of its own, whereas PTX takes a driver as new as the toolkit.
# From 80 on the tensor-core kernels are among them, and all four take 1.6 times as long to compile as 80 and 90 alone.
# 75 adds 0.1 MB to the wheel.
_ARCHITECTURES = [75, 80, 90, 100, 120]

_PIP = "import sysconfig; print(sysconfig.get_path('purelib') + '/nvidia/cu13')"

_BUILD = """
package(default_visibility = ["//visibility:public"])

cc_import(
    name = "cudart",
    static_library = "{library}/libcudart_static.a",
)

cc_library(
    name = "cuda",
    hdrs = glob(["include/**"]),
    includes = ["include"],
    linkopts = ["-ldl", "-lpthread", "-lrt"],
    deps = [":cudart"],
)
"""

# The first that knows Hopper's own instructions.
_OLDEST_CUDA = 12

_CONFIG = """CUDA_VERSION = {version}
NVCC = {nvcc}
ARCHITECTURES = {architectures}
OLDEST = {oldest}
"""

def _say(repository_ctx, text):
    repository_ctx.execute(["sh", "-c", "echo \"$0\" >&2", "cuda_configure: " + text], quiet = False)

def _candidates(repository_ctx):
    """(folder, how it was found) of every toolkit there may be, in the order to look."""
    environ = repository_ctx.os.environ
    candidates = []
    if environ.get("CUDA_HOME"):
        candidates.append((environ["CUDA_HOME"], "$CUDA_HOME"))
    candidates.append(("/usr/local/cuda", "the usual place"))
    pip = repository_ctx.execute([environ.get("PYTHON_BIN_PATH", "python3"), "-c", _PIP])
    if pip.return_code == 0:
        candidates.append((pip.stdout.strip(), "NVIDIA's pip packages"))
    return candidates

def _library_folder(repository_ctx, root):
    for folder in ["lib64", "lib", "targets/x86_64-linux/lib"]:
        if repository_ctx.path(root + "/" + folder + "/libcudart_static.a").exists:
            return folder
    return None

def _version(repository_ctx, nvcc):
    """ "Cuda compilation tools, release 13.0, V13.0.88" -> "13.0" """
    text = repository_ctx.execute([nvcc, "--version"]).stdout
    return text.split("release ")[1].split(",")[0]

def _find(repository_ctx):
    for root, how in _candidates(repository_ctx):
        nvcc = repository_ctx.path(root + "/bin/nvcc")
        library = _library_folder(repository_ctx, root)
        if not nvcc.exists or not library:
            continue
        version = _version(repository_ctx, nvcc)
        if int(version.split(".")[0]) < _OLDEST_CUDA:
            _say(repository_ctx, "CUDA %s of %s is older than %d" % (version, how, _OLDEST_CUDA))
            continue
        return struct(root = root, how = how, nvcc = str(nvcc), library = library, version = version)
    return None

def _known_architectures(repository_ctx, nvcc):
    """The compute capabilities that nvcc compiles for, as ascending integers."""
    lines = repository_ctx.execute([nvcc, "--list-gpu-arch"]).stdout.split("\n")
    numbers = [line[len("compute_"):] for line in lines if line.startswith("compute_")]
    return sorted([int(number) for number in numbers if number.isdigit()])

def _without_cuda(repository_ctx, why):
    _say(repository_ctx, why + "; building for the CPU alone")
    repository_ctx.file("BUILD", "")
    repository_ctx.file("config.bzl", _CONFIG.format(version = None, nvcc = None, architectures = [], oldest = None))

def _cuda_configure_impl(repository_ctx):
    choice = repository_ctx.os.environ.get("CUDA", "auto")
    if choice not in ["0", "1", "auto"]:
        fail("CUDA is %s; it must be 0, 1 or auto" % choice)
    if choice == "0":
        _without_cuda(repository_ctx, "CUDA=0")
        return
    toolkit = _find(repository_ctx)
    if not toolkit:
        places = ", ".join([root for root, _ in _candidates(repository_ctx)])
        if choice == "1":
            fail("CUDA=1, but there is no bin/nvcc of CUDA %d or newer with a libcudart_static.a in %s" %
                 (_OLDEST_CUDA, places))
        _without_cuda(repository_ctx, "no toolkit in " + places)
        return

    version = toolkit.version
    known = _known_architectures(repository_ctx, toolkit.nvcc)
    chosen = repository_ctx.os.environ.get("CUDA_ARCHITECTURES")
    wanted = [int(each) for each in chosen.split(" ")] if chosen else _ARCHITECTURES
    architectures = [each for each in wanted if each in known]
    if chosen and architectures != wanted:
        fail("CUDA %s compiles for %s, not for all of CUDA_ARCHITECTURES=%s" % (version, known, wanted))
    _say(repository_ctx, "CUDA %s from %s (%s), for compute capabilities %s" % (
        version,
        toolkit.root,
        toolkit.how,
        architectures,
    ))
    repository_ctx.symlink(toolkit.root + "/include", "include")
    repository_ctx.symlink(toolkit.root + "/" + toolkit.library, toolkit.library)
    repository_ctx.file("BUILD", _BUILD.format(library = toolkit.library))
    repository_ctx.file("config.bzl", _CONFIG.format(
        version = repr(version),
        nvcc = repr(toolkit.nvcc),
        architectures = architectures,
        oldest = known[0],
    ))

cuda_configure = repository_rule(
    implementation = _cuda_configure_impl,
    environ = ["CUDA", "CUDA_HOME", "CUDA_ARCHITECTURES", "PYTHON_BIN_PATH"],
    local = True,
)
