"""A checkpoint loaded onto a device, ready to run: the only module that creates models.

Which checkpoint is `model.py`'s word; feeding the model is `encode.py`'s.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from catalog_pipeline.embeddings.libraries import import_libraries
from catalog_pipeline.embeddings.model import ModelSpec, resolve_model
from catalog_pipeline.embeddings.problems import CheckpointError, DeviceMemoryError
from catalog_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

# Where throughput stops growing with a ViT-B/16: two cores are busy from 8 images on.
_BATCH_SIZES = {"cpu": 16, "cuda": 256, "mps": 32}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        spec: what it is.
        device: where it runs.
        device_name: the device in words, for reports.
        precision: `fp32`, `bf16` or `fp16`.
        batch_size: images in a batch.
        image_size: height and width of its input, in pixels.
        preprocess: the checkpoint's own way from an RGB picture to a float32 tensor (3, height,
            width).
    """

    spec: ModelSpec
    device: torch.device
    device_name: str
    precision: str
    batch_size: int
    image_size: tuple[int, int]
    preprocess: Callable[[Image], torch.Tensor]
    _towers: Any

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Features (n, dimensions) of preprocessed images (n, 3, height, width), on the device.

        Asynchronous on CUDA when the batch lies in pinned memory.

        Raises:
            CheckpointError: the model's vectors have another length than its configuration says.
        """
        features = self._run(lambda: self._towers.encode_image(self._moved(batch)))
        if features.shape != (len(batch), self.spec.dimensions):
            raise CheckpointError(
                f"{self.spec.checkpoint}: the image tower gives {tuple(features.shape)[1:]} "
                f"values, embed_dim says {self.spec.dimensions}; correct the configuration"
            )
        return features

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Features (n, dimensions) of texts, on the device.

        Raises:
            CheckpointError: the tokenizer is absent or is not this model's.
            ConfigurationError: the tokenizer needs a package that is not installed.
        """
        tokens = self._tokens(texts)
        return self._run(lambda: self._towers.encode_text(self._moved(tokens)))

    def read_later(self, features: torch.Tensor) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin to bring features to the host; the function returned waits for them.

        Waiting is for these features alone, not for what the device was given after them.
        """
        import torch

        if self.device.type != "cuda":
            return lambda: features.cpu().numpy()
        host = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
        host.copy_(features, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()

        def wait() -> npt.NDArray[np.float32]:
            copied.synchronize()
            return host.numpy()

        return wait

    def _moved(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(self.device, non_blocking=True)

    def _run(self, forward: Callable[[], torch.Tensor]) -> torch.Tensor:
        import torch

        # Autocast keeps weights, norms and the residual stream in float32, which is what keeps
        # bf16 vectors within a cosine of 0.999 of the exact ones also in deep models.
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        reduced = self.precision != "fp32"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=reduced):
            return forward().float()

    def _tokens(self, texts: Sequence[str]) -> torch.Tensor:
        try:
            tokens: torch.Tensor = _tokenizer(self.spec.tokenizer)(list(texts))
        except ImportError as error:
            raise ConfigurationError(
                f"the tokenizer of {self.spec.name} needs a package that is not installed "
                f"({error.name or error}); install catalog-pipeline[embed]"
            ) from error
        except Exception as error:
            raise CheckpointError(
                f"the tokenizer of {self.spec.name} cannot be loaded: {_first_line(error)}; put "
                "its files into the hub cache or beside the checkpoint"
            ) from error
        text_tower = getattr(self._towers, "text", self._towers)
        vocabulary = getattr(text_tower, "vocab_size", None)
        if isinstance(vocabulary, int) and int(tokens.max()) >= vocabulary:
            raise CheckpointError(
                f"the tokenizer of {self.spec.name} knows more words than the model "
                f"({vocabulary}): it is another model's; name the right one as "
                "text_cfg.hf_tokenizer_name"
            )
        return tokens


def load_model(
    spec: ModelSpec,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> LoadedModel:
    """Create the model, load its weights and move it to the device.

    Args:
        spec: from `resolve_model`.
        device: auto takes CUDA, then MPS, then the CPU.
        precision: auto is bf16 on a CUDA device that computes in it, fp32 elsewhere.
        batch_size: auto is a size at which the device is busy.

    Raises:
        ConfigurationError: torch is not installed, or the device is not there.
        CheckpointError: the weights do not fit the configuration, or changed since `resolve_model`.
        DeviceMemoryError: the model does not fit into the device's free memory.
    """
    torch, open_clip = import_libraries(spec.towers_of)
    place = _place(device)
    try:
        towers, preprocess = open_clip.create_model_from_pretrained(
            spec.architecture, pretrained=spec.pretrained, precision="fp32", device=place
        )
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"{spec.name} does not fit into the free memory of {_described(torch, place)}; end "
            "what else runs there or set CATALOG_DEVICE=cpu"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{spec.checkpoint} cannot be loaded as {spec.name}: {_first_line(error)}; the weights "
            "must be those of the open_clip configuration beside them, and whole"
        ) from error
    if spec.pretrained is None and resolve_model(spec.name).model_version != spec.model_version:
        raise CheckpointError(f"{spec.checkpoint} changed while it was loaded; start again")
    towers.eval()
    size = towers.visual.preprocess_cfg["size"]
    return LoadedModel(
        spec=spec,
        device=place,
        device_name=_described(torch, place),
        precision=_precision(torch, place, precision),
        batch_size=_BATCH_SIZES[place.type] if batch_size == "auto" else batch_size,
        image_size=(size, size) if isinstance(size, int) else (int(size[0]), int(size[1])),
        preprocess=preprocess,
        _towers=towers,
    )


@lru_cache(maxsize=4)
def _tokenizer(name: str) -> Any:
    """open_clip's tokenizer for a model: it canonicalises, cuts and pads as the model was trained.

    Kept, because reading a vocabulary takes longer than embedding a text.
    """
    import open_clip

    return open_clip.get_tokenizer(name)


def _place(device: Device) -> torch.device:
    import torch

    available = {
        "cuda": bool(torch.cuda.is_available()),
        "mps": bool(torch.backends.mps.is_available()),
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[device]:
        there = ", ".join(kind for kind, found in available.items() if found)
        raise ConfigurationError(
            f"CATALOG_DEVICE is {device}, and torch {torch.__version__} finds no such device here "
            f"(it finds: {there}); set CATALOG_DEVICE=auto, or install its driver and a torch "
            "built for it"
        )
    return torch.device(device)


def _precision(torch: ModuleType, place: torch.device, precision: Precision) -> str:
    if precision != "auto":
        return precision
    if place.type != "cuda":
        return "fp32"
    computes = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if computes else "fp32"


def _described(torch: ModuleType, place: torch.device) -> str:
    if place.type == "cuda":
        return str(torch.cuda.get_device_name(place))
    if place.type == "mps":
        return f"Apple {platform.machine()} GPU"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
