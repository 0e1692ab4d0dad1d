"""One model object for all trainings of a run, put back to its start before each of them.

Reading and drawing weights, and what `torch.compile` makes of a model, are then paid once. The numbers are those of a
model built anew, bit for bit.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedModel, set_seed

Model = TypeVar("Model", bound=PreTrainedModel)


class ReusedModel(Generic[Model]):
    """Hands out the model of a run as it is at the start of a training; holds one copy of the initial weights."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._seed: int | None = None
        self._values: dict[str, torch.Tensor] = {}
        self._random: tuple[Any, ...] = ()
        self._attributes: frozenset[str] = frozenset()
        self._form: list[tuple[Any, ...]] = []
        self._training = False

    def fresh(self, seed: int, build: Callable[[], Model]) -> Model:
        """The model as `build` makes it after `set_seed(seed)`, with the random states that this leaves.

        The object is the one handed out before, if that still has the form in which it was built: whoever trained
        that must be done with it. It is a new one where a training changed its form (adapters merged into it, other
        number formats, sharding), or where several processes train it together, since DDP and FSDP hold on to
        parameters.

        Args:
            seed: seed of what `build` draws.
            build: makes the model; has to be the same in every call.
        """
        model = self._model
        usable = model is not None and PartialState().num_processes == 1 and self._still_usable(model)
        if model is None or not usable:
            self._model = None  # freed before another is made
            del model
            set_seed(seed)
            built = build()
            self._note(built, seed)
            return built
        if seed != self._seed:
            set_seed(seed)
            built = build()
            if _form(built) != self._form:
                self._note(built, seed)
                return built
            self._values, self._random, self._seed = _values(built), _random_states(), seed
            del built
        set_seed(seed)  # of the GPUs, which building does not draw from
        _set_random_states(self._random)
        with torch.no_grad():
            for name, tensor in _tensors(model):
                tensor.copy_(self._values[name])
                tensor.grad = None
        model.train(self._training)
        return model

    def _note(self, model: Model, seed: int) -> None:
        self._model, self._seed = model, seed
        self._values, self._random = _values(model), _random_states()
        self._attributes, self._form, self._training = frozenset(vars(model)), _form(model), model.training

    def _still_usable(self, model: Model) -> bool:
        for name in set(vars(model)) - self._attributes:  # accelerate's forward for mixed precision, say
            delattr(model, name)
        return _form(model) == self._form


def _tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies in the computer's memory of all parameters and buffers, those that are not saved among them."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in _tensors(model)}


def _form(model: torch.nn.Module) -> list[tuple[Any, ...]]:
    """What has to be as it was for values to be all that a training changed."""
    modules = [
        (name, type(module), len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in vars(module))
        for name, module in model.named_modules()
    ]
    tensors = [(name, type(x), x.shape, x.dtype, x.requires_grad) for name, x in _tensors(model)]
    return [*modules, *tensors]


def _random_states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - what libraries draw from


def _set_random_states(states: tuple[Any, ...]) -> None:
    python, numpy, of_torch = states
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(of_torch)


@contextmanager
def short_collections() -> Iterator[None]:
    """Keep Python's garbage collector from looking through all that is loaded at the start of every training.

    Every training begins with a full collection (accelerate's), which takes half a second with torch and transformers
    loaded. What lives now is taken out of it until the end; what is made meanwhile is collected as ever.
    """
    if gc.get_freeze_count():  # somebody else's, who will end it
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
