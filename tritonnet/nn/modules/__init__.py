"""torch.nn.modules and its files, for scripts that name a layer by them: `nn.modules.conv.Conv2d` is `nn.Conv2d`.

Every layer is found in every file; there are files of torch's whose layers tritonnet does not offer yet.
"""

import sys
from types import ModuleType
from typing import Any

from ..._names import missing
from . import module, utils

__all__ = ["module", "utils"]

_FILES = (
    "activation",
    "adaptive",
    "batchnorm",
    "channelshuffle",
    "container",
    "conv",
    "distance",
    "dropout",
    "flatten",
    "fold",
    "instancenorm",
    "lazy",
    "linear",
    "loss",
    "normalization",
    "padding",
    "pixelshuffle",
    "pooling",
    "rnn",
    "sparse",
    "transformer",
    "upsampling",
)


class _File(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _layer(self.__name__, name)


def __getattr__(name: str) -> Any:
    return _layer(__name__, name)


def _layer(module: str, name: str) -> Any:
    from ... import nn

    if name in nn.__all__:
        return getattr(nn, name)
    if name == "LazyModuleMixin" or (name.startswith("_") and not name.startswith("__")):
        # A base class such as _Loss, which layers written outside of torch derive from.
        for file in [file for file in vars(nn).values() if isinstance(file, ModuleType)]:
            if isinstance(vars(file).get(name), type):
                return vars(file)[name]
    raise missing(module, module.replace("tritonnet", "torch", 1), name, nn.__all__)


for _name in _FILES:
    _path = f"{__name__}.{_name}"
    sys.modules[_path] = globals()[_name] = _File(_path, f"The layers that torch keeps in its file {_name}.")
