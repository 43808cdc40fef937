"""The library on one page; read it first. Each test stands on its own, and on the CPU as well as on a GPU."""

import torch
import triton
import triton.language as tl

import tritonnet
import tritonnet.nn as nn
from tritonnet import functional, kernels
from tritonnet.kernels._launch import launch
from tritonnet.testing import check

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_a_kernel_is_called_with_tensors():
    a, b = torch.randn(3, 5, device=DEVICE), torch.randn(5, 2, device=DEVICE)
    c = kernels.matmul(a, b)
    torch.testing.assert_close(c, a @ b)

    # Beside each kernel stands its reference: what it means, in plain torch. Either can be asked for.
    torch.testing.assert_close(c, kernels.matmul.reference(a, b))
    with kernels.use("reference"):
        assert torch.equal(kernels.matmul(a, b), kernels.matmul.reference(a, b))


def test_functions_have_gradients():
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, device=DEVICE, requires_grad=True)
    w = torch.randn(6, 3, 3, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    y = functional.relu(functional.conv2d(x, w, stride=2, padding=1))
    assert y.shape == (4, 6, 4, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert torch.autograd.gradcheck(functional.conv2d, (x[:1, :, :4, :4].detach().requires_grad_(), w), fast_mode=True)


class Classifier(nn.Module):
    """A module is written as for torch.nn: parameters are attributes, forward says what is computed."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(2, 32)
        self.scores = nn.Linear(32, 3)
        self.scale = nn.Buffer(torch.tensor(2.0))

    def forward(self, x):  # (B, 2)
        x = functional.relu(self.hidden(x * self.scale))  # (B, 32)
        return self.scores(x)  # (B, 3)


def test_a_module_names_what_it_holds():
    net = Classifier().to(DEVICE)
    names = ["hidden.weight", "hidden.bias", "scores.weight", "scores.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert set(net.state_dict()) == {*names, "scale"}
    assert isinstance(net.hidden.weight, tritonnet.Parameter)


def train(net, optimizer, steps):
    """The loop: points in the plane, to be told apart by their angle."""
    cross_entropy = nn.CrossEntropyLoss()
    losses = []
    for _ in range(steps):
        x = torch.randn(64, 2).to(DEVICE)
        labels = (torch.atan2(x[:, 1], x[:, 0]).add(torch.pi) * 3 / (2.001 * torch.pi)).long()
        loss = cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_training_loop():
    net = Classifier().to(DEVICE)
    losses = train(net, tritonnet.optim.Adam(net.parameters(), lr=1e-2), steps=60)
    assert losses[-1] < 0.5 * losses[0]


def test_a_run_is_saved_and_goes_on_to_the_bit(tmp_path):
    net = Classifier().to(DEVICE)
    optimizer = tritonnet.optim.Adam(net.parameters(), lr=1e-2)
    train(net, optimizer, steps=5)
    tritonnet.save(tmp_path / "run.safetensors", net, optimizer, step=5)
    expected = train(net, optimizer, steps=5)

    net = Classifier().to(DEVICE)
    optimizer = tritonnet.optim.Adam(net.parameters(), lr=1e-2)
    state = tritonnet.load(tmp_path / "run.safetensors", net, optimizer)
    assert state["step"] == 5
    assert train(net, optimizer, steps=5) == expected


@triton.jit
def _scale_kernel(x_ptr, y_ptr, n, factor, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0.0)
    tl.store(y_ptr + offs, (x.to(tl.float32) * factor).to(x.dtype), mask=offs < n)


def scale(x, factor=3.0):
    """Your own kernel is launched the same way on either device: compiled for the GPU by Triton, for the CPU by us."""
    y = torch.empty_like(x)
    launch(_scale_kernel, (triton.cdiv(x.numel(), 128),), x, y, x.numel(), factor, BLOCK=128)
    return y


def test_the_checker_tells_whether_a_kernel_is_right():
    """It tries sizes, dtypes and repeats, poisons and guards memory, and derives how close is close enough."""
    check(
        scale,
        lambda x, factor=3.0: x * factor,
        {"x": ("N",)},
        dims={"N": [0, 1, 127, 128, 129]},
        dtypes=[torch.float32, torch.float16, torch.bfloat16],
        hyper=[{"factor": -0.5}],
        layouts=["contiguous", "offset"],
    )
