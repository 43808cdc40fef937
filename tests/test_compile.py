"""torch.compile on models: one graph break an operation, the results and gradients of the model itself, no warning."""

import pytest
import torch

from tritonnet import nn

# torch's own, wherever a graph ends in a tensor that is no leaf; shown to nobody, but an error where warnings are.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


class Residual(nn.Module):
    """Three operations of ours between four pieces of torch's."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y = nn.functional.relu(self.first(x + 1) * 2)
        return (self.second(y - 1) * x).sum()


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 2), nn.Hardtanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3), nn.PReLU(),
        )  # fmt: skip

    def forward(self, x, target):
        return nn.functional.cross_entropy(self.layers(x), target, label_smoothing=0.1)


def results(net, *inputs):
    net.zero_grad()
    loss = net(*inputs)
    loss.backward()
    return [loss.detach(), *(param.grad for param in net.parameters())]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_results_and_gradients(backend):
    for net, inputs in (
        (Residual(), (torch.randn(4, 8),)),
        (Images(), (torch.randn(2, 1, 8, 8), torch.tensor([0, 2]))),
    ):
        compiled = torch.compile(net, backend=backend)
        compiled.parameters = net.parameters
        compiled.zero_grad = net.zero_grad
        plain = results(net, *inputs)
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(results(compiled, *inputs), plain, strict=True))
        with torch.no_grad():
            assert torch.equal(compiled(*inputs), plain[0])


def test_an_operation_is_one_break():
    """torch's operations before, between and after ours are as many graphs as there are pieces."""
    graphs = []

    def collect(graph, _):
        graphs.append([node.name for node in graph.graph.nodes if node.op.startswith("call")])
        return graph.forward

    torch.compile(Residual(), backend=collect)(torch.randn(4, 8)).backward()
    assert len(graphs) == 4 and all(graphs), graphs
    reasons = torch._dynamo.utils.counters["graph_break"]
    assert all("tritonnet compiles its kernels itself" in reason for reason in reasons), reasons


def test_a_loss_and_a_step_of_training():
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    @torch.compile(backend="eager")
    def loss_of(x, y):
        return nn.functional.mse_loss(net(x).squeeze(1), y)

    x, y = torch.randn(16, 4), torch.randn(16)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]


def test_fullgraph_says_why_it_cannot_be():
    with pytest.raises(torch._dynamo.exc.Unsupported, match="tritonnet compiles its kernels itself"):
        torch.compile(nn.Linear(2, 2), backend="eager", fullgraph=True)(torch.ones(1, 2))
