"""Results have the same bits on any number of threads."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from tritonnet.kernels import _tune
from tritonnet.kernels.matmul import pick_tile

ROOT = pathlib.Path(__file__).parents[2]
M, N, K = 64, 256, 2100

DIGESTS = f"""
import hashlib, json, os, torch
from tritonnet.kernels import *

# By itself torch starts no more threads than there are cores.
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

def randn(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=generator).to(dtype)

generator, digests = torch.Generator().manual_seed(0), {{}}
for dtype in (torch.float32, torch.bfloat16):
    results = {{"matmul": matmul(randn({M}, {K}, dtype=dtype), randn({K}, {N}, dtype=dtype))}}
    for groups in (1, 24):
        x, weight = randn(8, 24, 33, 20, dtype=dtype), randn(24, 24 // groups, 3, 3, dtype=dtype)
        hyper = {{"padding": 1, "stride": 2, "groups": groups}}
        y = results[f"conv2d {{groups}}"] = conv2d(x, weight, **hyper)
        results[f"conv2d_grad_input {{groups}}"] = conv2d_grad_input(y, weight, tuple(x.shape), **hyper)
        results[f"conv2d_grad_weight {{groups}}"] = conv2d_grad_weight(y, x, tuple(weight.shape), **hyper)
    logits, target = randn(3000, 37, dtype=dtype), torch.arange(3000) % 37
    loss, high, log_sum, total = cross_entropy(logits, target)
    results["cross_entropy"] = loss
    results["cross_entropy_backward"] = cross_entropy_backward(loss, logits, target, high, log_sum, total)
    results["column_sum"] = column_sum(randn(5000, 33, dtype=dtype))
    for name, result in results.items():
        digests[f"{{name}} {{dtype}}"] = hashlib.sha256(result.reshape(-1).view(torch.uint8).numpy()).hexdigest()
print(json.dumps(digests))
"""


def digests(threads):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_bits_do_not_depend_on_the_number_of_threads():
    assert digests(8) == digests(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_above_takes_other_tiles_on_other_numbers_of_threads(dtype):
    one, eight = (
        pick_tile(M, N, K, 1, dtype, _tune.Target("cpu", "no such processor", units, 512 << 10)) for units in (1, 8)
    )
    assert one != eight
    assert (one.BLOCK_K, one.SPLIT_K) == (eight.BLOCK_K, eight.SPLIT_K)
