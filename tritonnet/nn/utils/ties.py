"""Parameters that several modules share."""

from ...errors import ModuleError
from ...module import Module
from ...parameter import Parameter


def tie(module: Module, name: str, *others: str) -> None:
    """Let the parameters under several dotted names be one, the first: it takes the others' places.

    >>> tie(model, "embedding.weight", "head.weight")

    Make the optimizer afterwards. Moves, copies, loads, checkpoints and functional_call keep parameters tied.

    Raises: ModuleError if a name is not a parameter's, or one has another shape, dtype or device; nothing is tied then.
    """
    kept = module.get_parameter(name)
    replaced = {other: module.get_parameter(other) for other in others}
    for other, param in replaced.items():
        if _kind(param) != _kind(kept):
            raise ModuleError(f"tie: {other} is {_kind(param)}, and {name} is {_kind(kept)}; a tie is of equals")
    for other in others:
        path, _, attribute = other.rpartition(".")
        setattr(module.get_submodule(path), attribute, kept)


def tied(module: Module) -> list[list[str]]:
    """The names of each parameter that has several, in the order of `named_parameters`."""
    names: dict[int, list[str]] = {}
    for name, param in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(param), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _kind(param: Parameter) -> str:
    return f"{tuple(param.shape)} {param.dtype} on {param.device}"
