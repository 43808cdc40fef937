"""Kernels compiled ahead of time for GPUs that need not be there."""

import pathlib
import re
import subprocess

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@pytest.fixture
def compile_for_gpu(tmp_path):
    """compile_for_gpu(kernel, types, constants, capability) -> the compiled kernel and the bytes that it spills.

    types: Triton's, by name, of the parameters that are not constants; pointers and integers are multiples of 16,
        save those that the kernel is not specialised on.
    """

    def compile(kernel, types, constants, capability, num_warps=4, debug=False, num_stages=3):
        at = {name: (number,) for number, name in enumerate(kernel.arg_names)}
        types = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        special = [each.name for each in kernel.params if not each.do_not_specialize and types[each.name][0] in "*i"]
        aligned = {at[name]: [["tt.divisibility", 16]] for name in special}
        source = ASTSource(kernel, types, {at[name]: value for name, value in constants.items()}, aligned)
        options = {"num_warps": num_warps, "num_stages": num_stages, "debug": debug}
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        usage = subprocess.run(
            [tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True
        ).stdout
        return compiled, int(re.search(r"STACK:(\d+)", usage)[1])

    return compile
