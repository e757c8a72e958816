"""Weights on disk: which there are, their fingerprints, networks made of them, and how they are written.

A model `architecture` or `architecture.tag` is a file `<model>.safetensors` (fp16 or fp32 tensors, or int8 ones, each
with a scale per output in NAME.scale; where NAME.kept says which outputs those are, the others are 0; metadata says the
architecture and its configuration) with a card `<model>.toml` beside it. A path to such a file is a model, too.

A camera's variant of a model (`train/adapt.py`) is a file of the same kind that holds only what is the camera's own: the scene, as
a stream of the model it is a variant of, gains, how many planes the scene lacks, tables for differences from it, and low-rank
updates of the model's weights (metadata: base, that model's fingerprint; card, the text of its model card).

A task's variant whose decoder is that of another model holds an analysis transform alone (metadata: decoder, that model's fingerprint,
which is its own, too: what it encodes, that model decodes).
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neurocodec import memory
from neurocodec.errors import ModelError
from neurocodec.images import write_atomically
from neurocodec.models import ARCHITECTURES, Architecture
from neurocodec.payload import CodedPasses, RawPasses

if TYPE_CHECKING:
    from neurocodec.train.rate_distortion import RateDistortion

_SUFFIX = ".safetensors"
_SCALE, _KEPT = ".scale", ".kept"  # an 8-bit tensor's and a pruned one's
_LARGE = 1 << 14  # elements from which 8 bits are enough, and outputs can be missed
# What a variant's tensors are called.
_SCENE, _GAINS, _LACKING, _LOCALISATION, _TUNED = "scene", "gains", "lacking", "localisation.", "tuned."
_UP, _DOWN = ".up", ".down"  # the factors of a low-rank update
_TABLES = "tables."  # how the names of tensors begin that are not the network's but the entropy coder's


@dataclass(frozen=True)
class Model:
    """Weights that are here: `name` as the user says it, the file, and its architecture's entry."""

    name: str
    path: Path
    architecture: Architecture

    @property
    def card(self) -> dict[str, Any]:
        """The model card; empty when there is none."""
        if inside := _metadata(self.path).get("card"):
            return tomllib.loads(inside)
        path = self.path.with_suffix(".toml")
        return tomllib.loads(path.read_text()) if path.exists() else {}

    @property
    def task(self) -> str | None:
        """What it was trained for, beside looking like the original."""
        return self.card.get("objective", {}).get("task")

    @property
    def objective(self) -> "RateDistortion":
        """What a network of coded passes was trained for; without a model card, what such networks are trained for by default."""
        from neurocodec.train.rate_distortion import RateDistortion
        from neurocodec.train.task_loss import TaskLoss

        return (TaskLoss if self.task else RateDistortion)(**self.card.get("objective", {}))

    @property
    def layout(self) -> RawPasses | CodedPasses:
        """The layout of the model's payload, with the tables that these weights bring along."""
        return _layout(self.architecture, self.path, self.path.stat().st_mtime_ns)

    @property
    def base(self) -> "Model | None":
        """The model that this is a camera's variant of. Raises ModelError when its weights are not here."""
        return self._of_metadata("base")

    @property
    def decoder(self) -> "Model | None":
        """The model that decodes what this one, a task's variant, encodes. Raises ModelError when its weights are not here."""
        return self._of_metadata("decoder")

    def _of_metadata(self, key: str) -> "Model | None":
        fingerprint = _metadata(self.path).get(key)
        return fingerprint and find_for(self.architecture.number, int(fingerprint, 16))

    @property
    def camera(self) -> "Camera":
        """What a variant holds. Raises ModelError."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from neurocodec.models.spatial_transformer import Localisation

        try:
            stored = load_file(self.path)
            localisation = None
            if of_it := _within(stored, _LOCALISATION):
                localisation = Localisation().eval().requires_grad_(False)
                localisation.load_state_dict({k: v.float() for k, v in of_it.items()})
            gains, lacking = stored[_GAINS].float().view(-1, 1, 1), stored[_LACKING].item()
            return Camera(bytes(stored[_SCENE].numpy()), gains, lacking, localisation)
        except KeyError as error:
            raise ModelError(f"weights file {self.path} lacks the tensor {error}") from None
        except (RuntimeError, SafetensorError) as error:
            raise ModelError(f"weights file {self.path}: {' '.join(str(error).split())[:200]}") from None

    @property
    def fingerprint(self) -> int:
        """The first 16 bits of the SHA-256 of the file, or of that of the model that decodes what this one encodes."""
        decoder = _metadata(self.path).get("decoder")
        return int(decoder, 16) if decoder else _fingerprint(self.path, self.path.stat().st_mtime_ns)


class Camera(NamedTuple):
    """scene: a stream. gains: (C, 1, 1). lacking: planes. localisation: a network, or None (`scene.SceneCodec`)."""

    scene: bytes
    gains: Any
    lacking: float
    localisation: Any


def directory() -> Path:
    """Installed packages carry the weights inside; in a source tree they lie in `models/` beside the package."""
    package = Path(__file__).parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "models"


def shipped() -> list[Model]:
    """All models that came with the package, by name."""
    return [find(name) for name in _shipped_names()]


def _shipped_names() -> list[str]:
    return sorted(path.name.removesuffix(_SUFFIX) for path in directory().glob("*" + _SUFFIX))


def find(name: str | os.PathLike) -> Model:
    """The model of that name, or in that .safetensors file. Raises ModelError when it is not here."""
    text = os.fspath(name)
    if text.endswith(_SUFFIX):
        path = Path(text)
        if not path.is_file():
            raise ModelError(f"no weights file {text}")
        return Model(text, path, _architecture(_metadata(path).get("architecture", "")))
    architecture = _architecture(_architecture_name(text))
    path = directory() / (text + _SUFFIX)
    if not path.is_file():
        raise ModelError(f"no weights for model {text!r}")
    return Model(text, path, architecture)


def find_for(number: int, fingerprint: int) -> Model:
    """The shipped model that wrote a stream. Raises ModelError when there is none with that number and fingerprint."""
    architecture = architecture_of(number)
    for name in _shipped_names():
        if _architecture_name(name) == architecture.name:
            model = find(name)
            if model.fingerprint == fingerprint and "decoder" not in _metadata(model.path):
                return model
    raise ModelError(f"written with other weights (fingerprint {fingerprint:04x}); name their file with -m")


def architecture_of(number: int) -> Architecture:
    """The registry's entry for a model number. Raises ModelError when it is not known."""
    for architecture in ARCHITECTURES.values():
        if architecture.number == number:
            return architecture
    raise ModelError(f"model number {number} is not known")


def network(path: Path) -> Any:
    """The network in a weights file: a torch module in float32, in evaluation mode. Raises ModelError."""
    return _network(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _network(path: Path, modified: int) -> Any:  # modified: so that a file that was written again is read again
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    memory.keep_freed()
    metadata = _metadata(path)
    try:
        stored = load_file(path)
        if "base" in metadata:
            net = deepcopy(network(Model(str(path), path, _architecture(metadata["architecture"])).base.path))
            return tuned(net, _within(stored, _TUNED))
        if "decoder" in metadata:
            net = deepcopy(network(Model(str(path), path, _architecture(metadata["architecture"])).decoder.path))
            net.load_state_dict(net.state_dict() | _in_floats(stored))
            return net
        net = _architecture(metadata.get("architecture", "")).network()(**json.loads(metadata["config"]))
        net.load_state_dict(_in_floats({k: v for k, v in stored.items() if not k.startswith(_TABLES)}))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"weights file {path}: {' '.join(str(error).split())[:200]}") from None
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def tuned(net: Any, updates: Mapping[str, Any]) -> Any:
    """The network, changed by updates as a variant's file holds them: NAME.up (o, r) and NAME.down (r, i), whose product is added
    to the matrix or kernel NAME, or what NAME is added to, itself."""
    import torch

    tensors = _in_floats(updates)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name + _UP in tensors:
                parameter += (tensors.pop(name + _UP) @ tensors.pop(name + _DOWN)).view_as(parameter)
            elif name in tensors:
                parameter += tensors.pop(name)
    if tensors:
        raise KeyError(f"updates of {', '.join(tensors)}, which the network lacks")
    return net


def _within(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def in_8_bits(name: str, weight: Any) -> dict[str, Any]:
    """A tensor of two or more dimensions as int8, with a scale per output in NAME.scale."""
    import torch

    scale = (weight.flatten(1).abs().amax(1).clamp_min(1e-3) / 127).half()
    steps = weight / scale.float().view(-1, *[1] * (weight.ndim - 1))
    return {name + _SCALE: scale, name: steps.round().clamp(-127, 127).to(torch.int8).contiguous()}


def _in_floats(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors as they are computed with, float32."""
    import torch

    tensors = {k: v.float() for k, v in stored.items()}
    for name in [k for k, v in stored.items() if v.dtype == torch.int8]:
        tensors[name] *= tensors.pop(name + _SCALE).view(-1, *[1] * (stored[name].ndim - 1))
    for name in [k.removesuffix(_KEPT) for k in stored if k.endswith(_KEPT)]:
        kept = tensors.pop(name + _KEPT).bool()
        tensors[name] = tensors[name].new_zeros(len(kept), *tensors[name].shape[1:]).index_put((kept,), tensors[name])
    return tensors


def save(
    net: Any, architecture: str, path: Path, tables: Mapping[str, Any] | None = None, int8: bool = False, prune: float = 0.0
) -> None:
    """Write a network's weights with its configuration, and integer tables as they are.

    Weights are fp16, with `int8` those of large layers 8 bits, and a scale per output. prune: share of these layers' outputs that are
    left out, those with the least weights (Li et al., arXiv 1608.08710).
    """
    from safetensors.torch import save as serialize

    tensors = dict(tables or {})
    stored = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    large = {name: weight for name, weight in stored.items() if weight.ndim > 1 and weight.numel() >= _LARGE}
    kept = _kept(large, prune) if prune else {}
    for name, weight in stored.items():
        if name in kept:
            tensors[name + _KEPT] = kept[name].byte()
            weight = weight[kept[name]]
        tensors |= in_8_bits(name, weight) if int8 and name in large else {name: weight.half().contiguous()}
    metadata = {"architecture": architecture, "config": json.dumps(net.config, sort_keys=True)}
    write_atomically(path, serialize(tensors, metadata))


def save_encoder(net: Any, decoder: Model, path: Path) -> None:
    """Write a task's variant: a network's analysis transform, fp16, for the decoder of a model."""
    from safetensors.torch import save as serialize

    tensors = {
        name: w.detach().cpu().half().contiguous() for name, w in net.state_dict().items() if name.startswith(net.encoder_parts)
    }
    metadata = {"architecture": decoder.architecture.name, "decoder": f"{decoder.fingerprint:04x}"}
    write_atomically(path, serialize(tensors, metadata))


def _kept(layers: Mapping[str, Any], prune: float) -> dict[str, Any]:
    """Of each layer, the outputs (o,), bool, whose weights are not among the share that are least beside their neighbours'."""
    import torch

    sizes = {name: weight.float().flatten(1).abs().sum(1) for name, weight in layers.items()}
    ranks = {name: size / size.mean().clamp_min(1e-12) for name, size in sizes.items()}
    bound = torch.cat(list(ranks.values())).sort().values[int(prune * sum(map(len, ranks.values())))]
    return {name: rank >= bound for name, rank in ranks.items()}


def export(model: Model, path: Path, int8: bool, prune: float) -> None:
    """Write a model's weights again, smaller, as `save` does, and its card. Raises ModelError for a variant."""
    from safetensors.torch import load_file

    if model.base or model.decoder:
        raise ModelError(f"{model.name} is a variant of another model, not one by itself")
    card = model.path.with_suffix(".toml").read_text() if model.card else ""
    tables = {k: v for k, v in load_file(model.path).items() if k.startswith(_TABLES)}
    save(network(model.path), model.architecture.name, path, tables, int8, prune)
    said = f"[export]\nint8 = {json.dumps(int8)}\nprune = {prune}\n"
    write_atomically(path.with_suffix(".toml"), f"{card.partition('[export]')[0].rstrip()}\n\n{said}".lstrip().encode())


def save_variant(
    path: Path, base: Model, card: str, camera: Camera, tables: Mapping[str, Any], updates: Mapping[str, Any]
) -> None:
    """Write a camera's variant of a model."""
    import torch
    from safetensors.torch import save as serialize

    tensors = {
        **tables,
        **{_TUNED + k: v for k, v in updates.items()},
        **{_LOCALISATION + k: v.half() for k, v in (camera.localisation.state_dict() if camera.localisation else {}).items()},
        _GAINS: camera.gains.flatten(),
        _LACKING: torch.tensor([camera.lacking]),
        _SCENE: torch.frombuffer(bytearray(camera.scene), dtype=torch.uint8),
    }
    metadata = {"architecture": base.architecture.name, "base": f"{base.fingerprint:04x}", "card": card}
    write_atomically(path, serialize(tensors, metadata))


def _architecture_name(model: str) -> str:
    return model.partition(".")[0]


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise ModelError(f"no model named {name!r}; there are {', '.join(_shipped_names())}")
    return ARCHITECTURES[name]


def _metadata(path: Path) -> dict[str, str]:
    try:
        return _metadata_of(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{path} is not a weights file: {error}") from None


@lru_cache(maxsize=64)
def _metadata_of(path: Path, modified: int) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ModelError(f"{path} is not a weights file: {error}") from None


@lru_cache(maxsize=16)
def _layout(architecture: Architecture, path: Path, modified: int) -> RawPasses | CodedPasses:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        tables = {name: file.get_tensor(name) for name in file.keys() if name.startswith(_TABLES)}  # noqa: SIM118
    try:
        model = Model(str(path), path, architecture)
        if model.base:
            return model.base.layout.with_scene(tables)
        if model.decoder:
            return model.decoder.layout
        return architecture.layout.of(tables, json.loads(_metadata(path)["config"]))
    except (KeyError, ValueError) as error:
        raise ModelError(f"weights file {path} lacks what its payload needs: {error}") from None


@lru_cache(maxsize=64)
def _fingerprint(path: Path, modified: int) -> int:
    return int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:2], "big")
