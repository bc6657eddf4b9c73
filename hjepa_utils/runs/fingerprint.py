"""What a computation was made from, as a dict of readable values and hashes that can be compared.

Code is hashed as it is loaded, not as it stands in files: what a notebook defines, reloads or patches
counts, and comments and layout do not. The code of Python, torch, other installed packages and this
room goes by its name. Another minor version of Python is other code. Imports inside functions are
not followed.
"""

import dis
import functools
import hashlib
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType

import numpy as np
import torch
from torch import nn

_OURS = __name__.split(".")[0]
_ROOM = __name__.rpartition(".")[0]  # it keeps what others compute
_OF_EVERY_MODULE = set(vars(nn.Module()))
_NOT_CODE = {
    "__doc__", "__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__",
    "__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__",
    "__slotnames__",  # set when the first instance is pickled
}  # fmt: skip


def digest(value):
    """SHA-256 of a JSON-able value, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_tensors(tensors):
    """SHA-256 of {name: tensor}: names, dtypes, shapes and every number, wherever the tensors lie."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


def hash_code(*things):
    """SHA-256 of functions, classes and models: their code, what it reaches, and plain attributes.

    Of a model, its parts are followed, but not its weights: those are for `hash_tensors`.
    """
    return digest(_describe(list(things), {}))


def of_training(settings, seed, modules, *code):
    """What decides a training: settings (a dataclass), seed, {name: module} as it begins, its code."""
    return asdict(settings) | {
        "seed": seed,
        "the model or its code": [hash_code(module) for module in modules.values()],
        "the initial weights": [hash_tensors(module.state_dict()) for module in modules.values()],
        "the code of the training": hash_code(*code),
    }


def differences(before, now):
    """What differs between two fingerprints, for reading: `lr 0.001, now 0.01; the training windows`."""
    differ = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return "; ".join(_difference(key, before.get(key), now.get(key)) for key in differ)


def _difference(key, before, now):
    if isinstance(before, dict) and isinstance(now, dict):
        return differences(before, now)
    short = all(
        isinstance(value, str | int | float | None) and len(str(value)) < 40 for value in (before, now)
    )
    return f"{key} {_shown(before)}, now {_shown(now)}" if short else str(key)


def _shown(value):
    return "not given" if value is None else value


def _is_own(thing):
    """Neither of Python, nor of an installed package, nor of this room."""
    module = getattr(thing, "__module__", None) or "builtins"
    top = module.split(".")[0]
    if module.startswith(f"{_ROOM}.") or top in sys.stdlib_module_names - {"__main__"}:
        return False
    loaded = sys.modules.get(module) or sys.modules.get(top)
    file = getattr(loaded, "__file__", None) or "site-packages"
    return top in (_OURS, "__main__") or "-packages" not in file


def _describe(value, seen):
    """A JSON-able description. `seen` numbers what was met, and keeps it alive: no `id` is given twice."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype):
        return repr(value)
    if isinstance(value, list | tuple):
        return [_describe(one, seen) for one in value]
    if isinstance(value, torch.Tensor | np.ndarray):
        return hash_tensors({"": torch.as_tensor(value)})
    if id(value) in seen:
        return f"number {seen[id(value)][0]}"
    seen[id(value)] = (len(seen), value)
    if isinstance(value, set | frozenset):
        return [_describe(one, seen) for one in sorted(value, key=_name)]
    if isinstance(value, dict | MappingProxyType):
        return sorted(json.dumps([_describe(k, seen), _describe(v, seen)]) for k, v in value.items())
    if isinstance(value, CodeType):
        return _describe_code(value, None, seen)
    if isinstance(value, FunctionType):
        return _describe_function(value, seen)
    if isinstance(value, staticmethod | classmethod | MethodType):
        return _describe([value.__func__, getattr(value, "__self__", None)], seen)
    if isinstance(getattr(value, "__self__", None), type):  # such as `apply` of an autograd function
        return _describe([_name(value), value.__self__], seen)
    if isinstance(value, property):
        return _describe([value.fget, value.fset], seen)
    if isinstance(value, functools.partial):
        return _describe([value.func, value.args, value.keywords], seen)
    if isinstance(value, type):
        return _describe_class(value, seen)
    if hasattr(value, "__wrapped__"):  # a cached function
        return _describe(value.__wrapped__, seen)
    if isinstance(value, nn.Module):
        own = {k: v for k, v in vars(value).items() if k not in _OF_EVERY_MODULE}
        return _describe([type(value), own, value._modules], seen)
    if _is_own(type(value)):
        return _describe([type(value), getattr(value, "__dict__", None)], seen)
    return _name(value if hasattr(value, "__qualname__") else type(value))


def _name(thing):
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing)}"


def _describe_class(cls, seen):
    if not _is_own(cls):
        return _name(cls)
    attributes = {name: value for name, value in sorted(vars(cls).items()) if name not in _NOT_CODE}
    return [_name(cls), _describe(cls.__bases__, seen), _describe(list(attributes.items()), seen)]


def _describe_function(function, seen):
    held = list(_held(function))
    if not _is_own(function):  # such as a decorator's wrapper, which holds what it decorates
        return [_name(function), _describe(held, seen)]
    code, reached = function.__code__, []
    for name in _global_names(code):
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            used = sorted(set(code.co_names) & vars(value).keys()) if _is_own_module(value) else []
            value = [value.__name__, *(getattr(value, one) for one in used)]
        reached.append((name, value))
    given = (function.__defaults__, function.__kwdefaults__)
    return [_describe_code(code, function.__doc__, seen), _describe([given, held, reached], seen)]


def _is_own_module(module):
    return module.__name__.split(".")[0] == _OURS


def _describe_code(code, docstring, seen):
    constants = [one for one in code.co_consts if docstring is None or one is not docstring]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [code.co_code.hex(), _describe([names, constants], seen)]


@functools.cache
def _global_names(code):
    """The global names that a function and the functions inside it read, in order."""
    read = (one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    inside = (_global_names(one) for one in code.co_consts if isinstance(one, CodeType))
    return sorted(set(read).union(*inside))


def _held(function):
    """What a closure's cells hold; a cell may still be empty."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            yield cell.cell_contents
