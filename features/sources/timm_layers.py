"""Which features of a timm network are taken: its own, tokens of its last blocks, or a module's."""

from ...core.errors import BackboneError
from ..records.layer import GEM_EPSILON, GEM_POWER, TOKEN_POOLS, no_such_layer
from ..records.spec import BackboneSpec

# Of the names of networks, and what their authors evaluate with: DINOv2 (arXiv:2304.07193) the
# class tokens and the mean of the last patch tokens, SigLIP's have no class token, and CLIP
# (arXiv:2103.00020) and supervised ViTs the class token.
_USUAL = {"dinov2": "cls+mean", "dinov3": "cls+mean", "siglip": "mean", "_gap_": "mean"}


def usual_pool(name: str) -> str:
    """Return how tokens of a network are pooled where nothing is said."""
    return next((pool for part, pool in _USUAL.items() if part in name), "cls")


def features_of(torch, model, spec: BackboneSpec):
    """Return a module from normalised images (N, 3, R, R) to features (N, D).

    Parameters
    ----------
    model : torch.nn.Module
        A network of timm.
    spec : BackboneSpec
        Its layer None is where timm takes features; ``tokens:last-N`` has those of the last N
        blocks, after the network's last normalisation; else it is a module by its name in timm.

    Raises
    ------
    BackboneError
        The network has no such layer, or it cannot be pooled so.
    """
    layer = spec.layer
    if layer.blocks:
        take = _tokens(torch, model, spec)
    elif layer.name is not None:
        take = _module(torch, model, spec)
    elif layer.pool == "avg":

        def take(images):
            return model.forward_head(model.forward_features(images), pre_logits=True)

    else:
        raise BackboneError(
            f"{spec.canonical}: of timm's networks the default features come pooled",
            "leave --pool away, or name a --layer with it (tokens, or a module of the network)",
        )

    class _Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images):
            return take(images)

    # Modules begin in training mode, and the exporter puts back what it finds.
    return _Features().eval()


def layer_shapes(torch, model, side: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """List (name, class, output shape for one image) of the modules that features may come from."""
    found: dict[str, tuple[str, str, tuple[int, ...]]] = {}

    def watch(name: str):
        def note(module, given, out) -> None:
            if isinstance(out, torch.Tensor) and out.ndim in (2, 3, 4) and len(out) == 1:
                found[name] = (name, type(module).__name__, tuple(out.shape[1:]))

        return note

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(watch(name))
    with torch.inference_mode():
        model.forward_features(torch.zeros(1, 3, side, side))
    return list(found.values())


def _tokens(torch, model, spec: BackboneSpec):
    layer, blocks = spec.layer, len(getattr(model, "blocks", ()))
    if not blocks or not hasattr(model, "forward_intermediates"):
        raise BackboneError(
            f"{spec.canonical} is no transformer with a list of blocks, so it has no tokens",
            "leave --layer away, or name a module of it",
        )
    if layer.blocks > blocks:
        raise BackboneError(
            f"{spec.canonical} has {blocks} blocks, not {layer.blocks}",
            f"give tokens:last-{blocks} or fewer",
        )
    _require_token_pool(spec)
    classes = getattr(model, "cls_token", None) is not None
    if not classes and layer.pool != "mean":
        raise _no_class_token(spec)

    def take(images):
        found = model.forward_intermediates(
            images,
            indices=layer.blocks,
            return_prefix_tokens=True,
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        pairs = [one if isinstance(one, tuple) else (one, None) for one in found]
        rows = [prefix[:, 0] for _, prefix in pairs] if layer.pool != "mean" else []
        # As DINOv2 has it: of several blocks the patches of the last one join the class tokens.
        patches = pairs[-1:] if layer.pool == "cls+mean" else pairs
        if layer.pool != "cls":
            rows += [tokens.mean(dim=1) for tokens, _ in patches]
        return torch.cat(rows, dim=1)

    return take


def _module(torch, model, spec: BackboneSpec):
    layer, names = spec.layer, dict(model.named_modules())
    if not layer.name or layer.name not in names:
        raise no_such_layer(spec.canonical, layer.name or "", [name for name in names if name])
    seen: list = []
    names[layer.name].register_forward_hook(lambda module, given, out: seen.append(out))
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    classes = getattr(model, "cls_token", None) is not None

    def take(images):
        seen.clear()
        model.forward_features(images)
        if not seen or not isinstance(seen[-1], torch.Tensor):
            raise BackboneError(
                f"{spec.canonical}: '{layer.name}' gives no single array of numbers",
                "name another layer",
            )
        value = seen[-1]
        if value.ndim == 4:
            return _pooled_map(torch, value, spec)
        if value.ndim == 3:
            if layer.pool != "mean":
                _require_token_pool(spec)
                if not classes:
                    raise _no_class_token(spec)
            rows = [value[:, 0]] if layer.pool != "mean" else []
            rows += [value[:, prefix:].mean(dim=1)] if layer.pool != "cls" else []
            return torch.cat(rows, dim=1)
        if value.ndim != 2 or layer.pool != "avg":
            raise BackboneError(
                f"{spec.canonical}: '{layer.name}' gives {tuple(value.shape[1:])} numbers of an "
                f"image, which cannot be pooled by {layer.pool}",
                "leave --pool away, or name a layer with a map or tokens",
            )
        return value

    return take


def _pooled_map(torch, value, spec: BackboneSpec):
    """Pool a map, wherever its channels are."""
    layer, (_, a, b, c) = spec.layer, value.shape
    last = a == b != c
    if not (last or b == c) or layer.pool in (*TOKEN_POOLS, "none"):
        raise BackboneError(
            f"{spec.canonical}: '{layer.name}' gives a map of {a} x {b} x {c}, which cannot be "
            f"pooled by {layer.pool}",
            "give --pool avg, max, avgmax or gem, or name another layer",
        )
    value = value.permute(0, 3, 1, 2) if last else value
    mean, largest = value.mean(dim=(2, 3)), value.amax(dim=(2, 3))
    if layer.pool == "gem":
        return value.clamp(min=GEM_EPSILON).pow(GEM_POWER).mean(dim=(2, 3)).pow(1 / GEM_POWER)
    return {"avg": mean, "max": largest, "avgmax": (mean + largest) / 2}[layer.pool]


def _require_token_pool(spec: BackboneSpec) -> None:
    if spec.layer.pool not in TOKEN_POOLS:
        raise BackboneError(
            f"{spec.canonical}: tokens have no height and width to be pooled by {spec.layer.pool}",
            f"give --pool {', '.join(TOKEN_POOLS[:-1])} or {TOKEN_POOLS[-1]}",
        )


def _no_class_token(spec: BackboneSpec) -> BackboneError:
    return BackboneError(f"{spec.canonical} has no class token", "give --pool mean")
