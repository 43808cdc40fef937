"""`make targets`: what is compiled for which GPU, what is wrong with it, and that none is compiled twice."""

import json
import os

import pytest
import torch
import triton
import triton.language as tl

from tests.kernels.examples import examples
from tests.targets import __main__ as command
from tests.targets import builds, ledger, reports
from tests.targets.devices import DEVICES
from tests.targets.recording import Launch, Pointer, recording

SM_86, SM_90, GFX90A = (next(d for d in DEVICES if d.name == name) for name in ("sm_86", "sm_90", "gfx90a"))


@triton.jit
def _hoard_kernel(x_ptr, n, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    for _ in range(n):
        x = x * x + 1.0
    tl.store(x_ptr + tl.arange(0, BLOCK), x)


@triton.jit
def _product_kernel(a_ptr, K, PRECISION: tl.constexpr, BLOCK: tl.constexpr):
    rows, cols = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, K, BLOCK):
        a = tl.load(a_ptr + rows * K + cols + k)
        acc = tl.dot(a, tl.trans(a), acc, input_precision=PRECISION)
    tl.store(a_ptr + rows * BLOCK + cols, acc.to(a_ptr.dtype.element_ty))


def product(device, dtype=torch.bfloat16, precision="ieee", **options):
    options = {"PRECISION": precision, "BLOCK": 64, "num_warps": 4, **options}
    return builds.build(device, Launch(_product_kernel, (Pointer(dtype, 0), 4096), options))


def test_a_kernel_without_faults():
    found = reports.report(product(SM_90))
    assert found.problems == []
    assert found.registers > 16 and found.shared > 0 and found.spilled == 0


@pytest.mark.parametrize("device, block", [(SM_86, 8192), (GFX90A, 32768)], ids=["sm_86", "gfx90a"])
def test_spills_are_seen(device, block):
    hoard = Launch(_hoard_kernel, (Pointer(torch.float32, 0), 5), {"BLOCK": block, "num_warps": 1})
    assert any("spills" in problem for problem in reports.report(builds.build(device, hoard)).problems)


def test_shared_memory_beyond_the_devices_is_seen():
    each = product(SM_86, BLOCK=128, num_warps=8, num_stages=6)
    (problem,) = reports.report(each).problems
    assert problem.endswith("bytes of shared memory, of 101376")


def test_a_product_without_tensor_cores_is_seen(monkeypatch):
    assert reports.product(product(SM_90), 64, "bf16") == "wgmma"
    assert reports.product(product(SM_90), 16, "bf16") == reports.product(product(SM_86), 64, "f16") == "mma.sync"
    assert reports.product(product(SM_90), 64, "f32") == ""
    assert reports.product(product(GFX90A), 64, "bf16") == "v_mfma"
    monkeypatch.setattr(reports, "product", lambda *_: "no such instruction")
    (problem,) = reports.report(product(SM_90)).problems
    assert problem == "no no such instruction for a product of bf16 64 x 64 x 64"


def test_what_does_not_compile_is_seen():
    (problem,) = reports.report(product(GFX90A, torch.float32, "tf32")).problems
    assert problem.startswith("does not compile: CompilationError") and "input_precision must be one of" in problem


def test_a_compiler_that_dies_takes_no_other_kernel_with_it(monkeypatch):
    def report(each):
        if each is fatal:
            os._exit(1)
        return reports.Report(each.name, each.device.name, str(each))

    others = [product(SM_90, num_warps=warps) for warps in (1, 2, 4)]
    fatal = product(SM_90, num_warps=8)
    monkeypatch.setattr(command, "report", report)
    monkeypatch.setattr(command, "_todo", [others[0], fatal, *others[1:]])
    found = dict(command.compiled(2))
    assert found.keys() == {each.key for each in (*others, fatal)}
    assert found.pop(fatal.key).problems == ["the compiler dies of it"]
    assert not any(one.problems for one in found.values())


def test_nothing_is_compiled_twice(monkeypatch, tmp_path, capsys):
    def run():
        with pytest.raises(SystemExit) as done:
            command.main()
        return done.value.code, capsys.readouterr().out

    asked = []
    monkeypatch.setattr("sys.argv", ["targets", "--devices", "sm_90"])
    monkeypatch.setattr(command, "builds", lambda device: asked.append(device) or [product(device)])
    monkeypatch.setattr(ledger, "PATH", tmp_path / "ledger" / "ledger.json")
    status, out = run()
    assert status == 0 and "1 builds of 1 kernels, 1 of them compiled, 0 failures" in out
    status, out = run()
    assert status == 0 and "1 builds of 1 kernels, 0 of them compiled, 0 failures" in out
    assert asked == [SM_90]

    kept = json.loads(ledger.PATH.read_text())
    next(iter(kept["reports"].values()))["problems"] = ["spills 64 bytes"]
    ledger.PATH.write_text(json.dumps(kept))
    status, out = run()
    assert status == 1 and "product(bfloat16; PRECISION=ieee" in out and "for sm_90: spills 64 bytes" in out
    # What other checks found is not believed; what other sources wanted is recorded again, and found compiled.
    ledger.PATH.write_text(json.dumps({**kept, "checks": "others"}))
    status, out = run()
    assert status == 0 and "1 of them compiled" in out
    ledger.PATH.write_text(json.dumps({**json.loads(ledger.PATH.read_text()), "sources": "others"}))
    status, out = run()
    assert status == 0 and "0 of them compiled" in out and asked == [SM_90] * 3


def test_a_key_follows_the_kernel_its_arguments_its_tile_and_the_device():
    keys = [
        product(SM_90),
        product(SM_86),
        product(SM_90, torch.float16),
        product(SM_90, BLOCK=32),
        product(SM_90, num_warps=8),
        builds.build(
            SM_90, Launch(_product_kernel, (Pointer(torch.bfloat16, 8), 4096), product(SM_90).launch.constexprs)
        ),
    ]
    assert len({each.key for each in keys}) == len(keys)
    assert product(SM_90).key == keys[0].key


def test_every_kernel_is_compiled_in_every_dtype():
    compiled = builds.builds(SM_90)
    for dtype in builds.DTYPES:
        with recording(SM_90.target) as record:
            launched = {
                (launch.kernel.fn, *pointers(launch)) for each in examples() for launch in record(each, dtype, 1)
            }
        missing = launched - {(each.launch.kernel.fn, *pointers(each.launch)) for each in compiled}
        assert not missing
    assert {each.name for each in builds.builds(SM_86)} == {each.name for each in compiled}


def pointers(launch):
    return [arg.dtype for arg in launch.args if isinstance(arg, Pointer)]


def test_a_measured_tile_is_compiled():
    tile = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_K": 32, "GROUP_M": 4, "SPLIT_K": 1, "num_warps": 2, "num_stages": 2}
    found = list(builds.with_tile(SM_90, "matmul", {"dtype": "bfloat16", "sizes": [512, 512, 512, 1], "tile": tile}))
    assert {launch.kernel.__name__ for launch in found} == {"_matmul_kernel"}
    assert all(tile.items() <= launch.constexprs.items() for launch in found)


@pytest.mark.parametrize(
    "name, device",
    [
        ("NVIDIA_H100_80GB_HBM3", "sm_90"),
        ("NVIDIA_A100_SXM4_40GB", "sm_80"),
        ("NVIDIA_A10G", "sm_86"),
        ("NVIDIA_GeForce_RTX_3090", "sm_86"),
        ("NVIDIA_GeForce_RTX_4090", "sm_89"),
        ("NVIDIA_L40S", "sm_89"),
        ("NVIDIA_B200", "sm_100"),
        ("NVIDIA_GeForce_RTX_5090", "sm_120"),
        ("AMD_Instinct_MI300X", "gfx942"),
        ("AMD_Instinct_MI250X", "gfx90a"),
        ("cpu_avx512_2c", None),
    ],
)
def test_a_table_of_tiles_belongs_to_a_device(name, device):
    assert [each.name for each in DEVICES if each.is_model(name)] == ([device] if device else [])
