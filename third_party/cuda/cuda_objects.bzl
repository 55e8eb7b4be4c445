"""cuda_objects: one object file for each .cu.cc, so that kernels compile in parallel and are cached one by one."""

load("@local_config_cuda//:config.bzl", "ARCHITECTURES", "NVCC", "OLDEST")

# The first compute capability that CUTLASS's tensor-core kernels have code for; for an older one they compile to a trap.
_TENSOR_CORES = 80

def _gencode(architectures, ptx):
    return (["-gencode=arch=compute_%d,code=sm_%d" % (each, each) for each in architectures] +
            ["-gencode=arch=compute_%d,code=compute_%d" % (ptx, ptx)])

def _cuda_objects_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    quoted = depset(transitive = [each.quote_includes for each in contexts])
    system = depset(transitive = [each.system_includes for each in contexts] + [each.includes for each in contexts])
    headers = depset(transitive = [each.headers for each in contexts])

    # Drivers as new as the toolkit translate PTX for every newer device.
    ptx = _TENSOR_CORES if ctx.attr.needs_tensor_cores else OLDEST
    architectures = [each for each in ARCHITECTURES if each >= _TENSOR_CORES or not ctx.attr.needs_tensor_cores]
    gencode = _gencode(architectures, ptx)
    if ctx.attr.only_for:
        gencode = ["-gencode=arch=compute_%s,code=sm_%s" % (ctx.attr.only_for, ctx.attr.only_for)]
    objects = []
    for source in ctx.files.srcs:
        target = ctx.actions.declare_file(source.basename[:-len(".cu.cc")] + ".pic.o")
        arguments = ctx.actions.args()

        # An assert is a call, and where a function has one, the compiler may make its wgmma instructions wait.
        arguments.add_all(["-x", "cu", "-c", "-std=c++17", "-O3", "-DNDEBUG", "--expt-relaxed-constexpr"])
        arguments.add_all(["-Xcompiler", "-fPIC,-fvisibility=hidden"])
        arguments.add_all(gencode)
        arguments.add_all(quoted, before_each = "-I")
        arguments.add_all(system, before_each = "-isystem")
        arguments.add(source)
        arguments.add("-o", target)
        ctx.actions.run(
            executable = NVCC,
            arguments = [arguments],
            inputs = depset([source], transitive = [headers]),
            outputs = [target],
            use_default_shell_env = True,
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s with nvcc" % source.short_path,
        )
        objects.append(target)
    return [DefaultInfo(files = depset(objects))]

cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu.cc"]),
        "deps": attr.label_list(providers = [CcInfo]),
        # Leaves out devices too old for them, for which CUTLASS has no code.
        "needs_tensor_cores": attr.bool(),
        # An architecture such as "90a", whose instructions no other has: there is no code for the others then.
        "only_for": attr.string(),
    },
)
