"""A device without hardware. Tensors on it are torch's fake tensors: they have a shape, a type and a device, and no
values. Tensors on the host are real. An operation on the device checks its input, and no kernel runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from secseg.crf import exact, lattice_torch
from tests.devices.drivers import replaced

aten = torch.ops.aten

TRACES_CUDA = torch.cuda.is_available() or hasattr(torch._C, "_ensureCUDADeviceGuardSet")
needs_fake_cuda = pytest.mark.skipif(
    not (torch.backends.cuda.is_built() and TRACES_CUDA),
    reason="this torch has no fake tensors on CUDA for a machine without a GPU",
)

MEANT: Mapping[str, str] = {
    "crf.lattice_torch.build_lattice": "the number of lattice points, once for each lattice",
    "crf.lattice.Backend.solve": "the CRF runs on the CPU, for devices other than CUDA",
    "crf.pydensecrf.Backend.solve": "the CRF runs on the CPU",
    "crf.base.MeanField.__call__": "the result of a CRF on the CPU goes back to the device",
    "crf.exact._grid_kernels": "kernels that are kept, once for each grid",
    "crf.par.Backend._weights": "weights of the neighbours, on MPS",
    "crf.affinity.lattice_affinity": "the lattice is built on the CPU",
    "crf.affinity._filter": "the lattice filters on the CPU, in the forward and in the backward pass",
    "crf.widths.foreground_share": "the widths of the CRF, once for each image",
    "losses.growing.grow_seeds": "regions grow on the CPU, from the cues and the candidates",
    "losses.pooling.global_weighted_rank_pooling": "weights of the ranks, on MPS",
    "training.monitor.LossMonitor.raise_if_not_finite": "the losses of the step before, on CUDA",
    "training.monitor.LossMonitor.check": "the losses of the step, on MPS",
}
"""The functions in which the host waits for the device on purpose, in a step or for an image."""

CACHES = (exact._grid_kernels, lattice_torch._gaussian_lattice)
"""Functions that keep tensors on the device."""

INNER = torch.device("cuda:0")
"""The device of the tensors for torch."""


class DeviceWait(AssertionError):
    """The host waits for the device in a function that is not listed."""


class NoFloat64(AssertionError):
    """A float64 tensor on a device that does not have the type."""


@contextmanager
def fake_device(name: str = "cuda:0", meant: Collection[str] = MEANT) -> Iterator[FakeDevice]:
    """Give the machine a fake device, and nothing else, within this context.

    Args:
        name: ``cuda:0`` or ``mps:0``.
        meant: the functions in which the host may wait for the device.
    """
    # At the first backward pass of a process, torch starts a thread for each device. Fake devices need none, and
    # processes with such threads cannot be forked.
    torch.ones((), requires_grad=True).backward()
    device = FakeDevice(torch.device(name), meant)
    with ExitStack() as stack:
        for replacement in (*replaced(device.device.type, device.wait), *_stored_and_loaded(device)):
            stack.enter_context(replacement)
        for function in CACHES:
            function.cache_clear()
            stack.callback(function.cache_clear)
        stack.enter_context(FakeTensorMode())
        yield stack.enter_context(device)


class FakeDevice(TorchDispatchMode):
    """Runs operations on the device, and those on the host.

    The host waits for the device to read from it, and to copy to it without ``non_blocking``. Only listed functions may
    do this. Copies to the device count only in functions of the package.

    A torch without MPS does not compute with its tensors. For torch they are on CUDA, and only other code finds them on
    MPS. They cannot be float64 there.

    Attributes:
        device: the device.
        waits: how often the host has waited in each function.
    """

    def __init__(self, device: torch.device, meant: Collection[str]) -> None:
        super().__init__()
        self.device, self.meant = device, meant
        self.waits: Counter[str] = Counter()
        self._in_torch = False

    def wait(self, operation: str) -> None:
        """Count that the host waits for the device.

        Raises:
            DeviceWait: if the calling function is not listed.
        """
        caller = _caller()
        if caller not in self.meant:
            raise DeviceWait(f"{caller} waits for the device: {operation}")
        self.waits[caller] += 1

    def device_of(self, x: FakeTensor) -> torch.device:
        """Return the device of ``x`` for torch or for other code."""
        if x.fake_mode.in_kernel_invocation:
            return torch.device("meta")
        return x.fake_device if self._in_torch or x.fake_device != INNER else self.device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func.namespace == "prim":  # what a tensor is, such as prim.device
            return func(*args, **kwargs)
        # In inference mode, torch passes on operations that consist of others.
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **kwargs)
        target = kwargs.get("device")
        if not _fake(args, kwargs) and target not in (self.device, INNER):
            with torch._C._DisableTorchDispatch():
                return func(*args, **kwargs)
        if target == self.device:
            kwargs["device"] = INNER
        self._in_torch = True
        try:
            result = self._computed(func, *tree_map_only(Tensor, _as_fake, (args, kwargs)))
        finally:
            self._in_torch = False
        return args[0] if func is aten.copy_.default else result

    def _computed(self, func: Any, args: Any, kwargs: Any) -> Any:
        if _waits(func, args, kwargs):
            self.wait(str(func))
        try:
            result = RESULTS.get(func, func)(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise DeviceWait(f"{_caller()} waits for the device: {func}") from error
        if self.device.type == "mps" and any(x.dtype == torch.float64 and x.device == INNER for x in _fake(result)):
            raise NoFloat64(f"{_caller()} makes a float64 tensor on {self.device}: {func}")
        return tree_map_only(FakeTensor, lambda x: x if x.device == INNER else _without_values(x), result)


def _stored_and_loaded(device: FakeDevice) -> Iterator[AbstractContextManager[Any]]:
    """Yield the replacements of functions that depend on the device."""
    save, load, autocast = torch.save, torch.load, torch.autocast

    def saved(values: Any, *args: Any) -> None:
        if _fake(values):
            device.wait("torch.save")
        save(tree_map_only(FakeTensor, lambda x: _without_values(x, "cpu"), values), *args)

    def loaded(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():  # else torch loads fake tensors
            return load(*args, **kwargs)

    def on_inner(kind: str, *args: Any, **kwargs: Any) -> Any:
        return autocast(INNER.type if kind == device.device.type else kind, *args, **kwargs)

    for name, function in {"save": saved, "load": loaded, "autocast": on_inner}.items():
        yield mock.patch.object(torch, name, function)
    yield mock.patch.object(FakeTensor, "device", property(device.device_of))


def _waits(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether the host waits for the device in an operation."""
    if func is aten._to_copy.default:
        source, blocking = args[0].device, not kwargs.get("non_blocking")
        target = kwargs.get("device") or source
    elif func is aten.copy_.default:
        target, source, blocking = args[0].device, args[1].device, not (len(args) > 2 and args[2])
    elif func in (aten.index_put.default, aten.index_put_.default):
        # A mask selects a number of elements that the host has to ask for, unless all get the same value.
        return any(x is not None and x.dtype == torch.bool for x in args[1]) and args[2].numel() != 1
    else:
        return func in RESULTS
    if target.type == "cpu":
        return blocking
    return blocking and source.type == "cpu" and _frame().f_globals["__name__"].startswith("secseg.")


def _zero(x: FakeTensor) -> Any:
    with torch._C._DisableTorchDispatch():
        return torch.zeros((), dtype=x.dtype).item()


def _largest_unique(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, their numbers and counts, of the sizes that they have if all elements differ."""
    return x.flatten(), torch.empty_like(x, dtype=torch.int64), torch.empty_like(x.flatten(), dtype=torch.int64)


RESULTS: Mapping[Any, Callable[..., Any]] = {
    aten._local_scalar_dense.default: _zero,
    aten.equal.default: lambda *_: True,
    aten.nonzero.default: lambda x: x.new_empty(x.numel(), x.ndim, dtype=torch.int64),
    aten._unique2.default: _largest_unique,
}
"""Operations that read from the device, and functions that return a possible result."""


def _fake(*values: Any) -> list[FakeTensor]:
    return [x for x in tree_leaves(values) if isinstance(x, FakeTensor)]


def _as_fake(x: Tensor) -> Tensor:
    if isinstance(x, FakeTensor):
        return x
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def _without_values(x: FakeTensor, device: str | None = None) -> Tensor:
    """Return a real tensor of zeros like ``x``, on its device or another one."""
    with torch._C._DisableTorchDispatch():
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device or x.fake_device).zero_()


def _frame() -> Any:
    """Return the frame of the innermost function that belongs neither to torch nor to the fake device."""
    frame = sys._getframe(1)
    while frame.f_globals["__name__"].startswith(PASSED):
        assert frame.f_back is not None
        frame = frame.f_back
    return frame


PASSED = ("torch.", "contextlib", "unittest.", __name__, "tests.devices.gradients", "tests.devices.drivers")


def _caller() -> str:
    """Return the function that calls torch, such as ``crf.lattice.Backend.solve`` for one of the package."""
    frame = _frame()
    function = frame.f_code.co_qualname.partition(".<locals>")[0]
    return f"{frame.f_globals['__name__']}.{function}".removeprefix("secseg.")
