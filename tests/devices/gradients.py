"""The backward pass on fake tensors: it calls the nodes of the autograd graph one by one.

torch's own engine asks the driver for the streams of the device, and fails without one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import get_gradient_edge

Incoming = dict[Any, dict[int, Tensor]]


def backward(output: Tensor) -> None:
    """Add the gradient of ``output``, a scalar, to ``grad`` of each leaf."""
    with torch.no_grad():
        for node, grads in _incoming(output).items():
            if (leaf := getattr(node, "variable", None)) is not None:
                leaf.grad = grads[0] if leaf.grad is None else leaf.grad + grads[0]


def grad(output: Tensor, inputs: Tensor) -> tuple[Tensor]:
    """Return the gradient of ``output``, a scalar, with respect to one tensor of the graph."""
    edge = get_gradient_edge(inputs)
    with torch.no_grad():
        return (_incoming(output)[edge.node][edge.output_nr],)


def _incoming(output: Tensor) -> Incoming:
    """Return the gradients of each node's outputs."""
    edge = get_gradient_edge(output)
    incoming: Incoming = defaultdict(dict)
    incoming[edge.node][edge.output_nr] = torch.ones_like(output)
    for node in _in_order(edge.node):
        if hasattr(node, "variable") or node not in incoming:
            continue
        results = _call(node, [incoming[node].get(number) for number in range(len(node._input_metadata))])
        for (following, number), result in zip(node.next_functions, results, strict=False):
            if following is not None and result is not None:
                checked = _checked(result, following._input_metadata[number], node)
                known = incoming[following].get(number)
                incoming[following][number] = checked if known is None else known + checked
    return incoming


def _in_order(root: Any) -> Iterable[Any]:
    """Return all nodes of a graph, each after those whose results it needs."""
    found: list[Any] = []
    seen, stack = set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((following, False) for following, _ in node.next_functions if following is not None)
    return reversed(found)


def _call(node: Any, grads: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    results = node.apply(*grads) if isinstance(node, BackwardCFunction) else node(*grads)
    return results if isinstance(results, tuple) else (results,)


def _checked(result: Tensor, expected: Any, node: Any) -> Tensor:
    """Do what the engine does with a gradient: it refuses another device, casts the type and undoes broadcasting."""
    device = result.fake_device if isinstance(result, FakeTensor) else result.device
    if device != expected.device:
        raise RuntimeError(f"{node.name()} returned a gradient on {result.device}, expected {expected.device}")
    return result.to(expected.dtype).sum_to_size(expected.shape)
