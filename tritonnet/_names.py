"""What is said of a name that a script expects and tritonnet does not have."""

import importlib.util
import sys
from collections.abc import Collection


def missing(
    module: str,
    counterpart: str,
    name: str,
    offered: Collection[str],
    advice: str = "torch.nn has it, tritonnet does not offer it yet",
) -> Exception:
    """The error for `module.name`: `advice` if torch has it in the module's counterpart, and which names are near it.

    An AttributeError; an ImportError in `from module import name`, which would keep an AttributeError's text to itself.
    To be called by the module's `__getattr__`.
    """
    if name.startswith("__"):  # Python's own, for which whole programs look in every module
        return AttributeError(f"{module}.{name}: there is no such name", name=name)
    # torch imports its own torch.nn; tritonnet only looks.
    theirs = hasattr(sys.modules.get(counterpart), name)
    text = advice if theirs else "there is no such name"
    text = f"{module}.{name}: {text}{_near(name, offered)}"
    importing = sys._getframe(2).f_code.co_name == "_handle_fromlist"
    if importing and theirs and importlib.util.find_spec(f"{module}.{name}") is None:
        return ImportError(text, name=module)
    return AttributeError(text, name=name)


def _near(name: str, offered: Collection[str]) -> str:
    import difflib

    folded = {one.lower(): one for one in offered}
    near = difflib.get_close_matches(name.lower(), folded, cutoff=0.6)
    return f" (near: {', '.join(folded[one] for one in near)})" if near else ""
