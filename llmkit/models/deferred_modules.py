"""Modules that the libraries import in any case and few commands use: they are loaded when something of them is used.

`importlib.util.LazyLoader` would load a module at the first `from module import name`, which is how torch and
transformers take what they need of each other. So each of these names is stood in for until it is used.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import inspect
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

# module -> the names that other modules take from it as they are imported
DEFERRED: dict[str, tuple[str, ...]] = {
    "accelerate": ("PartialState", "dispatch_model"),
    "accelerate.hooks": ("AlignDevicesHook", "add_hook_to_module"),
    "accelerate.utils": (
        "extract_model_from_parallel",
        "get_balanced_memory",
        "get_max_memory",
        "infer_auto_device_map",
        "reduce",
    ),
    "accelerate.utils.modeling": ("clean_device_map", "get_max_layer_size"),
    "scipy.optimize": ("linear_sum_assignment",),
    "torch._dynamo": ("allow_in_graph", "assume_constant_result", "disable"),
    "torch._dynamo._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
    "torch.distributed._composable.fsdp": ("fully_shard",),
    "torch.distributed.checkpoint": (),
    "torch.distributed.checkpoint.hf_storage": ("HuggingFaceStorageReader", "HuggingFaceStorageWriter"),
    "torch.distributed.fsdp": ("CPUOffloadPolicy", "FullyShardedDataParallel", "MixedPrecisionPolicy"),
    "torch.distributed.tensor": ("DTensor", "Partial", "Replicate", "Shard", "distribute_tensor"),
    "torch.distributed.tensor._utils": ("compute_local_shape_and_global_offset",),
    "torch.distributed.tensor.placement_types": ("Shard", "_StridedShard"),
    "transformers.distributed.expert_parallel": ("apply_expert_parallelism",),
    "transformers.distributed.tensor_parallel": (
        "apply_tensor_parallelism",
        "gather_state_dict_for_save",
        "get_kv_heads_per_rank",
        "verify_tp_plan",
    ),
    "transformers.models": (),
}
# they read a thousand files to know what their modules hold, which whoever names a module of theirs need not know
INDEXES = {"transformers.models"}


class Deferral(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the modules of `DEFERRED` without running their code, and runs it when something of them is used.

    With one module all of its library are imported as always from then on: their own code wants no stand-ins.
    """

    def __init__(self) -> None:
        self.waiting = {name for name in DEFERRED if name not in sys.modules}
        self.decorated: list[tuple[StandIn, Any]] = []  # functions, and what is to be done with them after the load
        self._lock, self._depth, self._released = threading.RLock(), 0, False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in self.waiting:
            found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
            if found is not None:
                found.loader = self
            return found
        package = fullname.rpartition(".")[0]
        if package in self.waiting - INDEXES:  # it runs before another module of it does, which it may import
            self.loaded(package)
            module = sys.modules.get(fullname)
            return None if module is None else importlib.machinery.ModuleSpec(fullname, LoadedModule(module))
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return DeferredModule(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        for name in DEFERRED[module.__name__]:
            vars(module)[name] = KINDS.get(name, StandIn)(self, module.__name__, name)

    def loaded(self, name: str) -> ModuleType:
        """Return a module of `DEFERRED`, its code run."""
        with self._lock:
            if name in self.waiting:
                self._release(name.partition(".")[0])
            self._depth += 1  # the code of a module may come back here
            try:
                module = importlib.import_module(name)
            finally:
                self._depth -= 1
            if not self._depth and self._released:
                self._released = False
                self._decorate()
                self._put_right()
            return module

    def _release(self, library: str) -> None:
        self._released = True
        for name in [name for name in self.waiting if name.partition(".")[0] == library]:
            self.waiting.discard(name)
            if isinstance(sys.modules.get(name), DeferredModule):
                del sys.modules[name]

    def _decorate(self) -> None:
        ready = [pair for pair in self.decorated if pair[0].module not in self.waiting]
        self.decorated = [pair for pair in self.decorated if pair[0].module in self.waiting]
        for decorator, function in ready:
            decorator.load()(function)

    def _put_right(self) -> None:
        """Put what was stood in for where the stand-ins are: torch.compile reads the code that names them."""
        for module in list(sys.modules.values()):
            names = vars(module) if isinstance(module, ModuleType) else {}
            for name, value in list(names.items()):
                if issubclass(type(value), StandIn) and not value.waits:
                    names[name] = value.load()


class DeferredModule(ModuleType):
    """A module whose code did not run: it holds stand-ins, and for all other names the module itself is loaded."""

    def __init__(self, name: str, deferral: Deferral) -> None:
        super().__init__(name)
        self._deferral = deferral

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self._deferral.loaded(self.__name__), name)


class StandIn:
    """What stands in for a function or a class of a module until it is called, or anything of it is asked for.

    Nothing is an instance of a class whose module was not loaded.
    """

    def __init__(self, deferral: Deferral, module: str, name: str) -> None:
        self.deferral, self.module, self.name = deferral, module, name

    @property
    def waits(self) -> bool:
        """Whether the module was not loaded yet."""
        return self.module in self.deferral.waiting

    def load(self) -> Any:
        """Return the function or class, its module loaded."""
        return getattr(self.deferral.loaded(self.module), self.name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.load()(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.load(), name)

    def __instancecheck__(self, instance: object) -> bool:
        return not self.waits and isinstance(instance, self.load())

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[Any, ...]:
        return (self.load(),)

    def __or__(self, other: object) -> Any:  # in the types of arguments
        return Any

    __ror__ = __or__

    @property
    def __signature__(self) -> inspect.Signature:  # accelerate's functions are asked which arguments they take
        return inspect.signature(self.load())


class Note(StandIn):
    """A decorator that returns the function itself, of which compiling knows something then."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not self.waits:
            return super().__call__(*arguments, **named)
        self.deferral.decorated.append((self, arguments[0]))
        return arguments[0]


class Exclusion(StandIn):
    """The decorator that excludes a function from compiling: as long as nothing is compiled there is nothing to do."""

    def __call__(self, function: Callable[..., Any] | None = None, *arguments: Any, **named: Any) -> Any:
        if function is None or not self.waits:
            return functools.partial(self, **named) if self.waits else self.load()(function, *arguments, **named)
        excluded: list[Callable[..., Any]] = []

        @functools.wraps(function)
        def inner(*inputs: Any, **more: Any) -> Any:
            if not self.waits and not excluded:
                excluded.append(self.load()(function, *arguments, **named))
            return (excluded[0] if excluded else function)(*inputs, **more)

        return inner


KINDS: dict[str, type[StandIn]] = {"allow_in_graph": Note, "assume_constant_result": Note, "disable": Exclusion}


class LoadedModule(importlib.abc.Loader):
    """Gives a module that was loaded while it was looked for."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def defer_modules() -> None:
    """Let the modules of `DEFERRED` wait until they are used, unless torch is there: little is to be gained then."""
    if "torch" not in sys.modules and not any(isinstance(finder, Deferral) for finder in sys.meta_path):
        sys.meta_path.insert(0, Deferral())
