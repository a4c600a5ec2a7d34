"""Whether a model computes faster in bfloat16 than in float32 on this machine: a matrix product of its shapes, timed.

What a processor's instructions are called does not tell: AVX-512's for bfloat16 halve the time of a product on one
processor and double it on another.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.functional import linear
from transformers import PretrainedConfig

from llmkit.output.atomic import cache_folder, write_whole

FILE_NAME = "precision.json"
SMALLEST = 2**16  # weights of a product: whole steps of smaller models took 0.9 to 1.5 times float32's time
WIDEST, MOST_ROWS = 1024, 512  # what is timed of a larger product, in some 20 ms: the factor is the same from there on
TIMED = 3  # the best of so many
PATIENCE = 0.1  # seconds for one dtype; a processor without such instructions can take that long for one product
# A product alone overstates: norms, activations, softmax, logits and the optimizer stay as they are. Of steps of BERT
# and Llama, 64 to 384 wide, all that had a factor of 1.8 or more but one took 0.5 to 1.0 of float32's time (1.5 to 1.8:
# 0.65 to 1.2; less: 0.9 to 1.5).
CLEARLY_FASTER = 1.8


@dataclass(frozen=True)
class Product:
    """A matrix product: rows x width by width x outputs."""

    rows: int
    width: int
    outputs: int

    @property
    def is_small(self) -> bool:
        """Whether casts and calls take the time that the product itself would save."""
        return self.width * self.outputs < SMALLEST

    @property
    def timed(self) -> Product:
        """What stands for it in a measurement; rows are a power of two, so that batches of like size share it."""
        rows = 2 ** round(math.log2(max(1, min(self.rows, MOST_ROWS))))
        return Product(rows, min(self.width, WIDEST), min(self.outputs, WIDEST))


@dataclass(frozen=True)
class Choice:
    """Whether bfloat16 is taken, and how many times as fast as in float32 a product is in it, where it was timed."""

    is_bfloat16: bool
    factor: float | None = None

    @property
    def dtype(self) -> Literal["bfloat16", "float32"]:
        """The value of --dtype that asks for it."""
        return "bfloat16" if self.is_bfloat16 else "float32"

    @property
    def sentence(self) -> str | None:
        """A sentence for the user; None where there was nothing to weigh."""
        if self.factor is None:
            return None
        factor = f"{self.factor:.1f} times as fast"
        if self.is_bfloat16:
            return f"bfloat16 autocast: its products are {factor} as float32's here (--dtype float32 for the other)"
        return f"float32: bfloat16 products are {factor} here (--dtype bfloat16 for the other)"


def product_of(config: PretrainedConfig, rows: int) -> Product | None:
    """Return the largest product of a layer, hidden size by intermediate size; None where the config names no sizes."""
    text = config.get_text_config()
    width = _first(text, ("hidden_size", "d_model", "n_embd", "dim"))
    outputs = _first(text, ("intermediate_size", "d_ff", "encoder_ffn_dim", "n_inner", "hidden_dim"))
    return Product(rows, width, outputs or 4 * width) if width else None


def _first(config: PretrainedConfig, names: tuple[str, ...]) -> int:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def decide(product: Product | None, times: Callable[[Product], tuple[float, float]]) -> Choice:
    """Return which dtype is taken for a model of this product; `times` are the seconds in float32 and in bfloat16."""
    if product is None or product.is_small:
        return Choice(False)
    float32, bfloat16 = times(product.timed)
    factor = float32 / bfloat16
    return Choice(factor >= CLEARLY_FASTER, factor)


def faster_dtype(config: PretrainedConfig, rows: int, device: torch.device) -> Choice:
    """Return whether a model computes faster in bfloat16 on a device; `rows` are the tokens of a batch.

    What is timed on a CPU is kept by processor, version of torch and shape.
    """
    if device.type == "cuda":
        return Choice(bool(torch.cuda.is_bf16_supported(including_emulation=False)))
    if device.type != "cpu":
        return Choice(False)
    return decide(product_of(config, rows), known_times)


def known_times(product: Product) -> tuple[float, float]:
    """Return the seconds of a product in float32 and in bfloat16, those that the cache keeps or new ones."""
    file, key = cache_folder() / FILE_NAME, _key(product)
    kept = _read(file)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        float32, bfloat16 = map(float, kept[key])
        if 0 < float32 < math.inf and 0 < bfloat16 < math.inf:
            return float32, bfloat16
    times = measured_times(product)
    with contextlib.suppress(OSError):  # it is timed again
        write_whole(file, json.dumps({**_read(file), key: times}, indent=2) + "\n")
    return times


def measured_times(product: Product) -> tuple[float, float]:
    """Return the seconds of a product in float32, and in bfloat16 as autocast computes it: rows and weights are cast.

    One thread computes it: the factor is that of the instructions, and threads that wait for one another beside other
    work on the machine would hide it.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(product.rows, product.width, generator=generator)
    weights = torch.randn(product.outputs, product.width, generator=generator)
    with _one_thread(), torch.inference_mode():
        float32 = _best(lambda: linear(rows, weights))
        bfloat16 = _best(lambda: linear(rows.bfloat16(), weights.bfloat16()).float())
    return float32, bfloat16


def _best(compute: Callable[[], torch.Tensor]) -> float:
    """Return the least of the seconds that some computations take, after one to warm up."""
    seconds: list[float] = []
    begun = time.perf_counter()
    compute()
    while len(seconds) < TIMED and (not seconds or time.perf_counter() - begun < PATIENCE):
        started = time.perf_counter()
        compute()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _key(product: Product) -> str:
    shape = f"{product.rows} x {product.width} x {product.outputs}"
    return f"{_processor()}; torch {torch.__version__}; {shape}"


def _processor() -> str:
    """Return the name of the processor and what it can do: a virtual machine gives many of them one name."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    able = [torch.backends.cpu.get_cpu_capability()]
    able += ["bf16"] if torch.cpu._is_avx512_bf16_supported() else []
    able += ["AMX"] if torch.cpu._is_amx_tile_supported() else []
    return f"{name} ({', '.join(able)})"


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
