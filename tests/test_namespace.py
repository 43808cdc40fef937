"""One changed import is enough: torch.nn's import lines find tritonnet's names; a missing name is said to be so."""

import subprocess
import sys

import pytest
import torch

import tritonnet
from tritonnet import functional, nn

# Each is run with torch.nn, and again with tritonnet.nn in its place; `found` says what was imported.
IMPORTS = [
    "import torch.nn as nn; found = nn.Linear, nn.Module, nn.functional.relu",
    "import torch.nn; found = torch.nn.Linear, torch.nn.functional.relu, torch.nn.init.zeros_, torch.nn.modules.Linear",
    "import torch.nn.functional as F; found = F.relu, F.dropout, F.cross_entropy, F.linear, F.conv2d, F.one_hot",
    "from torch import nn; found = nn.Sequential, nn.ModuleDict",
    "from torch.nn import functional as F; found = F.relu,",
    "from torch.nn import Module, Parameter, functional, init; found = Module, Parameter, functional.relu, init.ones_",
    "from torch.nn import Linear, Conv2d, ReLU, Sequential; found = Linear, Conv2d, ReLU, Sequential",
    "from torch.nn.functional import relu, cross_entropy; found = relu, cross_entropy",
    "import torch.nn.init as init; found = init.xavier_uniform_, init.kaiming_normal_, init.constant_",
    "from torch.nn.init import trunc_normal_, zeros_, xavier_normal_; found = trunc_normal_, zeros_, xavier_normal_",
    "from torch.nn.init import _calculate_fan_in_and_fan_out as fans; found = fans,",
    "from torch.nn.parameter import Parameter, Buffer; found = Parameter, Buffer",
    "import torch.nn.parameter as parameter; found = parameter.Parameter,",
    "from torch.nn.modules import Module, Linear, Conv2d; found = Module, Linear, Conv2d",
    "from torch.nn.modules.module import Module; found = Module,",
    "import torch.nn.modules.conv as conv; found = conv.Conv2d,",
    "from torch.nn.modules.loss import CrossEntropyLoss; found = CrossEntropyLoss,",
    "from torch.nn.modules.container import Sequential, ModuleList; found = Sequential, ModuleList",
    "from torch.nn.modules.utils import _pair; found = _pair,",
    "from torch.nn.modules.lazy import LazyModuleMixin; found = LazyModuleMixin,",
    "from torch.nn.parameter import UninitializedParameter, is_lazy; found = UninitializedParameter, is_lazy",
    "import torch.nn.utils.parametrize as P; found = P.register_parametrization, P.is_parametrized, P.cached",
    "from torch.nn.utils.parametrizations import weight_norm, spectral_norm; found = weight_norm, spectral_norm",
    "from torch.nn.utils import parametrize, skip_init; found = parametrize.cached, skip_init",
    "from torch.nn.utils.stateless import functional_call; found = functional_call,",
    "from torch.nn import modules; found = modules.linear.Linear, modules.activation.ReLU, modules.dropout.Dropout",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_torchs_import_lines(line):
    results = []
    for script in (line, line.replace("torch", "tritonnet")):
        space: dict[str, object] = {}
        exec(script, space)
        results.append(space["found"])
    assert [one.__name__ for one in results[0]] == [one.__name__.replace("fans", FANS) for one in results[1]]
    assert all(one.__module__.startswith("tritonnet.") for one in results[1])
    assert all(one.__module__.startswith("torch") for one in results[0])


FANS = "_calculate_fan_in_and_fan_out"


def test_there_is_one_module_under_both_paths():
    assert nn.functional is tritonnet.functional is sys.modules["tritonnet.nn.functional"]
    assert nn.init is tritonnet.init and nn.parameter.Parameter is tritonnet.Parameter
    code = "import tritonnet.nn.functional as F; from tritonnet.nn.init import zeros_; print(F.relu.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "tritonnet.functional.pointwise.activations\n"


def lacking(ours, theirs):
    """A public name that torch has and tritonnet lacks."""
    return next(name for name in sorted(vars(theirs)) if not name.startswith("_") and name not in ours.__all__)


@pytest.mark.parametrize("ours, theirs", [(nn, torch.nn), (functional, torch.nn.functional)], ids=["nn", "functional"])
def test_a_missing_name_is_said_to_be_missing(ours, theirs):
    name = lacking(ours, theirs)
    text = "torch.nn has it, tritonnet does not offer it yet"
    with pytest.raises(AttributeError, match=f"^{ours.__name__}.{name}: {text}") as caught:
        getattr(ours, name)
    assert caught.value.name == name
    assert not hasattr(ours, name) and getattr(ours, name, 3) == 3
    with pytest.raises(ImportError, match=f"{name}: {text}"):
        exec(f"from {ours.__name__} import {name}")
    with pytest.raises(ModuleNotFoundError):
        exec(f"import {ours.__name__}.{name}")


def test_near_names_are_named():
    for name, near in (("Relu", "ReLU"), ("Conv2D", "Conv2d"), ("CrossEntropy", "CrossEntropyLoss")):
        with pytest.raises(AttributeError, match=rf"tritonnet.nn.{name}: there is no such name \(near: {near}"):
            getattr(nn, name)
    with pytest.raises(AttributeError, match=r"functional.crossentropy: .* \(near: cross_entropy"):
        functional.crossentropy  # noqa: B018
    with pytest.raises(AttributeError, match="there is no such name$"):
        nn.zzzz  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'zzzz'"):
        exec("from tritonnet.nn import zzzz")


def test_submodules_are_imported_as_ever():
    """The error for a missing name does not come before the search for a submodule of that name."""
    code = "from tritonnet.functional import _once; from tritonnet.nn import linear; print(linear.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "tritonnet.nn.linear\n"
