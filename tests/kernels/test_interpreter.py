"""Triton's interpreter: every operation runs there, in float32, and agrees with its reference."""

import os
import subprocess
import sys

CODE = """
import torch
from tritonnet import kernels

assert kernels.path(torch.device("cpu"))[0] == "Triton's interpreter on the CPU"
torch.manual_seed(0)
x, w = torch.randn(2, 2, 5, 5), torch.randn(3, 2, 3, 3)
logits, target, weight = torch.randn(5, 7), torch.tensor([0, 6, -100, 3, 3]), torch.rand(7)
smoothed = (weight, -100, "mean", 0.1)
_, *statistics = kernels.OPS["cross_entropy"].reference(logits, target, *smoothed)
hyper = torch.tensor([[1e-2, 0.9, 0.99, 1e-6, 0.1]], dtype=torch.float64)
adams = [[torch.rand(4, 3), torch.rand(5)] for _ in range(5)]
seed = torch.tensor([5])

CASES = {
    "adam": (*adams, [torch.zeros(()), torch.ones(())], hyper),
    "column_sum": (torch.randn(9, 4),),
    "conv2d": (x, w, torch.randn(3)),
    "conv2d_grad_input": (torch.randn(2, 3, 3, 3), w, x.shape),
    "conv2d_grad_weight": (torch.randn(2, 3, 3, 3), x, w.shape),
    "cross_entropy": (logits, target, *smoothed),
    "cross_entropy_backward": (torch.ones(()), logits, target, *statistics, *smoothed),
    "dropout": (torch.randn(5, 7), 0.3, seed),
    "dropout_": (torch.randn(7, 5).t(), 0.3, seed),
    "matmul": (torch.randn(5, 7), torch.randn(7, 3), torch.randn(3)),
    "relu": (torch.randn(5, 7),),
    "relu_": (torch.randn(5, 7),),
    "relu_backward": (torch.randn(5, 7), torch.randn(7, 5).t()),
    "sgd": (*adams[:3], torch.tensor([[1e-2, 0.9, 0.4, 0.1]], dtype=torch.float64)),
    "softmax": (torch.randn(5, 7), 0, True),
    "softmax_backward": (torch.randn(5, 7), torch.rand(5, 7), 1),
    "softmax_double_backward": (*torch.randn(2, 5, 7), torch.rand(5, 7), 1, True, True),
}


def copy(value):
    if isinstance(value, list):
        return [copy(one) for one in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


assert CASES.keys() == kernels.OPS.keys()
for name, op in kernels.OPS.items():
    ours, theirs = copy(list(CASES[name])), copy(list(CASES[name]))
    results = op.launcher(*ours), op.reference(*theirs)
    for one, other in zip((*ours, results[0]), (*theirs, results[1]), strict=True):
        if isinstance(one, (torch.Tensor, list, tuple)):
            torch.testing.assert_close(one, other, msg=lambda m: f"{name}: {m}")
"""


def test_every_operation():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
