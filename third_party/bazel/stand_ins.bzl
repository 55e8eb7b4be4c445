"""Local stand-ins for the repositories that Bazel would download before it compiles any C++.

Bazel's own BUILD files load their rules through rules_cc and rules_java, and every test depends on a coverage tool. The
rules are built into Bazel 4 under the same names, and the coverage tool runs under `bazel coverage` alone, so the
build needs nothing from the network.
"""

def _stand_in_impl(repository_ctx):
    for path, content in repository_ctx.attr.files.items():
        repository_ctx.file(path, content)

_stand_in = repository_rule(
    implementation = _stand_in_impl,
    attrs = {"files": attr.string_dict(mandatory = True)},
)

def _built_in_rules(language, rules):
    _stand_in(
        name = "rules_" + language,
        files = {
            language + "/BUILD": "",
            language + "/defs.bzl": "".join(["{0} = native.{0}\n".format(rule) for rule in rules]),
        },
    )

def stand_ins():
    _built_in_rules("cc", ["cc_binary", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite"])
    _built_in_rules("java", ["java_binary", "java_import", "java_library", "java_runtime", "java_toolchain"])
    _stand_in(
        name = "remote_coverage_tools",
        files = {"BUILD": 'filegroup(name = "coverage_report_generator", visibility = ["//visibility:public"])'},
    )
