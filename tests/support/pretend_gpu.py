"""A GPU for machines that have none: tensors on a device of their own whose numbers lie in the host's memory.

    with pretend_gpu() as gpu:
        x = torch.ones(3, device=gpu.device)     # says that it is on gpu:0
        x + torch.ones(3)                        # RuntimeError, as on any GPU
        with gpu.counting() as counts:
            x.sum().item()
        print(counts)                            # one sync, one kernel, and which lines caused them

Every operation passes through `_Mode`, which looks at where its tensors are, notes what a GPU would have had to do,
and computes on the CPU. So results are those of the CPU but for rounding: some operations (attention, GRUs, linear
layers) reach it in other pieces. What it cannot show: speed, CUDA's own kernels, and races between streams; autocast
is accepted and changes nothing.

PyTorch keeps one place for devices it does not know, PrivateUse1, and a process can name it once. So where this module
was imported the name "gpu" is known for good, as that of a device which outside the block is not available.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import textrlhf

aten = torch.ops.aten
LIBRARY = Path(textrlhf.__file__).parent
ELSEWHERE = "outside the library"

COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXES = {
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
PACKS = {aten._pack_padded_sequence.default, aten._pack_padded_sequence_backward.default}  # lengths stay on the host
SYNCS = {  # the host must know a result, or how large it is, before it can go on
    aten._local_scalar_dense.default: "item",
    aten.equal.default: "equal",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.repeat_interleave.Tensor: "repeat_interleave",
}


@dataclass
class Counts:
    """How often what happened, by the line of the library that caused it."""

    uploads: Counter[str] = field(default_factory=Counter)  # copies from the host to the GPU
    syncs: Counter[str] = field(default_factory=Counter)  # the host waits: copies back, .item(), boolean indices, …
    kernels: Counter[str] = field(default_factory=Counter)  # operations that compute; a view is none

    def __str__(self) -> str:
        """All of it as a table, the most frequent line first."""
        lines = []
        for name, counter in vars(self).items():
            lines.append(f"{counter.total()} {name}")
            lines += [f"{n:8} {place}" for place, n in counter.most_common()]
        return "\n".join(lines)


class PretendTensor(torch.Tensor):
    """Says that it is on the GPU; `elem` has the numbers."""

    elem: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, elem: Tensor) -> PretendTensor:
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            elem.shape,
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device=DEVICE,
        )
        self.elem = elem
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    # Both make `module.to()` swap a parameter's inside instead of making another parameter, as it does for a real GPU.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["elem"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], meta: None, size: Any, stride: Any) -> PretendTensor:
        return PretendTensor(inner["elem"])

    def _set_data(self, other: Tensor) -> None:
        if not isinstance(other, PretendTensor):
            raise RuntimeError("the data of a tensor on the GPU must be on the GPU")
        torch.Tensor.data.__set__(self, other)
        self.elem = other.elem

    data = property(torch.Tensor.data.__get__, _set_data)

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendTensor:
        if id(self) not in memo:
            copied = memo[id(self)] = PretendTensor(self.elem.clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copied._is_param = True
        return memo[id(self)]

    def tolist(self) -> Any:
        _note("syncs", "tolist")
        return self.elem.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy: copy it to the host with .cpu()")

    def untyped_storage(self) -> Any:
        """Where the numbers are: what writes files asks for it, to see which tensors share their memory."""
        return self.elem.untyped_storage()

    def data_ptr(self) -> int:
        return self.elem.data_ptr()

    def __repr__(self, **_: Any) -> str:
        return f"PretendTensor({self.elem!r})"


class _Generator(torch.Generator):
    """Random numbers for the GPU, the same as the CPU draws from that seed. Also stands for the CPU's own."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        on_gpu = _on_gpu(device)
        self = super().__new__(cls, "cpu" if on_gpu else device)
        self._device = DEVICE if on_gpu else None
        return self

    def __init__(self, device: Any = "cpu") -> None:
        if self._device is not None:
            _generators.add(self._cdata)  # what an operation gets is another object around the same generator

    @property
    def device(self) -> torch.device:
        return self._device or super().device


class _Backend(backend_registration._DummyBackendModule):
    """What `torch.gpu` is."""

    def is_available(self) -> bool:
        return _opened is not None

    def device_count(self) -> int:
        return 1

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class _Hook(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return _opened is not None

    def has_primary_context(self, index: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


class PretendGPU:
    """The open device."""

    def __init__(self) -> None:
        self.device = DEVICE
        self.counts = Counts()  # since it was opened
        self.thread = threading.get_ident()
        self.watching = [self.counts]

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counts]:
        """Count what happens inside the block alone."""
        counts = Counts()
        self.watching.append(counts)
        try:
            yield counts
        finally:
            self.watching = [one for one in self.watching if one is not counts]


_opened: PretendGPU | None = None
_generators: set[int] = set()  # of the GPU
_library = torch.library.Library("aten", "IMPL")


@contextlib.contextmanager
def pretend_gpu() -> Iterator[PretendGPU]:
    """A GPU while the block runs, named "gpu"; models, agents and environments take that name as their device."""
    global _opened
    if _opened is not None:
        raise RuntimeError("pretend_gpu() is open already: there is one such device")
    _opened, usual = PretendGPU(), torch.Generator
    try:
        torch.Generator = _Generator  # the real one refuses devices without a generator of their own
        with _Mode():
            yield _opened
    finally:
        torch.Generator, _opened = usual, None
        _generators.clear()


def _register() -> torch.device:
    """Give PyTorch's place for one unknown device the name "gpu".

    At import, since the first gradient that a process computes settles for which devices gradients can be computed.
    """
    backend_registration._setup_privateuseone_for_python_backend("gpu", backend_module=_Backend(), hook=_Hook())
    # torch.tensor(…, device="gpu") goes past every mode, down to what is registered for the device.
    for name in ("empty_strided", "copy_"):
        _library.impl(name, functools.partial(_past_modes, getattr(aten, name).default), "PrivateUse1")
    return torch.device("gpu", 0)


def _past_modes(func: Any, *args: Any, **kwargs: Any) -> Any:
    if _opened is None:
        raise RuntimeError("the pretend GPU is available inside `with pretend_gpu():` only")
    return _run(func, args, kwargs)


class _Mode(TorchDispatchMode):
    """Sees every operation, also those that make tensors out of nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here = [x for x in given if isinstance(x, PretendTensor)]
    if here:
        _check_devices(func, args, given)
    device = kwargs.get("device")
    if func is aten.copy_.default:
        stays = isinstance(args[0], PretendTensor)
        source = args[1]
    else:
        stays = _on_gpu(device) if device is not None else bool(here)
        source = args[0] if func is aten._to_copy.default else None
    crosses = source is not None and isinstance(source, PretendTensor) != stays
    if crosses:
        _note("uploads", "copy") if stays else _note("syncs", "copy")
    elif here and func in SYNCS:
        _note("syncs", SYNCS[func])
    elif stays and not func.is_view and "empty" not in func.__name__:
        _note("kernels", func.__name__)
    generator = kwargs.get("generator")
    if generator is not None and stays != (generator._cdata in _generators):
        raise RuntimeError(f"{func}: expected a generator of the device on which the numbers are drawn")
    if device is not None:
        kwargs = {**kwargs, "device": "cpu" if _on_gpu(device) else device}
    if not stays and not here:
        return func(*args, **kwargs)
    operation = MISSING.get(func, func)
    found = operation(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if not stays:
        return found
    back = {id(x.elem): x for x in here}  # what an operation wrote in place is the tensor it was given

    def outside(x: Any) -> Any:
        return back[id(x)] if id(x) in back else PretendTensor(x) if isinstance(x, Tensor) else x

    if func is aten._pack_padded_sequence.default:
        return outside(found[0]), found[1]
    return tree_map(outside, found)


def _check_devices(func: Any, args: tuple[Any, ...], given: list[Tensor]) -> None:
    """Refuse what mixes host and GPU; a single number of the host goes along with any call."""
    strangers = [x for x in given if not isinstance(x, PretendTensor) and x.dim()]
    if func in INDEXES:
        indices = [x for x in args[1] if x is not None]
        for index in indices:
            if isinstance(index, PretendTensor):
                if index.dtype in (torch.bool, torch.uint8):
                    _note("syncs", "boolean index")
            elif isinstance(args[0], PretendTensor):
                _note("uploads", "index on the host")  # allowed, and copied behind the caller's back
                strangers = [x for x in strangers if x is not index]
    if strangers and func not in COPIES | PACKS:
        where = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in given)
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found {where}")


def _note(what: str, how: str) -> None:
    if _opened is None:
        return
    place = _place(_opened.thread)
    for counts in _opened.watching:
        getattr(counts, what)[f"{place} ({how})" if what != "kernels" else place] += 1


def _place(main: int) -> str:
    """The innermost line of the library that is being run; gradients are computed by a thread of their own."""
    for frame in (sys._getframe(), sys._current_frames().get(main)):
        while frame is not None:
            name = _in_library(frame.f_code.co_filename)
            if name is not None:
                return f"{name}:{frame.f_lineno}"
            frame = frame.f_back
    return ELSEWHERE


@functools.cache
def _in_library(file: str) -> str | None:
    """A file's name below the library, unless it is one of the tests, which lie there too."""
    path = Path(file)
    if not path.is_relative_to(LIBRARY):
        return None
    name = path.relative_to(LIBRARY)
    return str(name) if (LIBRARY / name.parts[0] / "__init__.py").is_file() else None


def _on_gpu(device: Any) -> bool:
    return torch.device(device).type == DEVICE.type


def _inside(x: Any) -> Any:
    return x.elem if isinstance(x, PretendTensor) else x


def _gru_cell(
    from_input: Tensor, from_hidden: Tensor, hidden: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One step of a GRU, which PyTorch has as one kernel on GPUs alone; and what its gradient needs."""
    if b_ih is not None:
        from_input, from_hidden = from_input + b_ih, from_hidden + b_hh
    (r_i, z_i, n_i), (r_h, z_h, n_h) = from_input.chunk(3, 1), from_hidden.chunk(3, 1)
    r, z = (r_i + r_h).sigmoid(), (z_i + z_h).sigmoid()
    n = (n_i + r * n_h).tanh()
    return n + z * (hidden - n), torch.cat([r, z, n, hidden, n_h], 1)


def _gru_cell_backward(grad: Tensor, workspace: Tensor, has_bias: bool) -> tuple[Tensor | None, ...]:
    r, z, n, hidden, n_h = workspace.chunk(5, 1)
    d_n = grad * (1 - z) * (1 - n * n)
    d_z = grad * (hidden - n) * z * (1 - z)
    d_r = d_n * n_h * r * (1 - r)
    of_input, of_hidden = torch.cat([d_r, d_z, d_n], 1), torch.cat([d_r, d_z, d_n * r], 1)
    return of_input, of_hidden, grad * z, *((of_input.sum(0), of_hidden.sum(0)) if has_bias else (None, None))


MISSING: dict[Any, Callable[..., Any]] = {
    aten._thnn_fused_gru_cell.default: _gru_cell,
    aten._thnn_fused_gru_cell_backward.default: _gru_cell_backward,
}

DEVICE = _register()
