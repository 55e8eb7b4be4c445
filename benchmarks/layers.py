"""The convolutions of well-known networks. All pad as SAME does, so that each output is ceil(size / stride) wide."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of square images with a square filter; `channels` and `filters` are totals over all groups."""

    name: str
    size: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    count: int = 1
    """How often the network has it."""
    data_format: str = "NHWC"

    @property
    def out_size(self) -> int:
        return -(-self.size // self.stride)

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before the first row or column, and after the last."""
        span = (self.kernel - 1) * self.dilation + 1
        total = max(0, (self.out_size - 1) * self.stride + span - self.size)
        return total // 2, total - total // 2

    @property
    def filter_shape(self) -> tuple[int, int, int, int]:
        return self.kernel, self.kernel, self.channels // self.groups, self.filters

    def flops(self, batch: int) -> float:
        """Of the definition: two per product, those with padding included."""
        return 2.0 * batch * self.out_size**2 * self.kernel**2 * self.channels * self.filters / self.groups

    def in_layout(self, side: T, channels: T) -> tuple[T, T, T]:
        """What belongs to the dimensions of an image, in the order of the layer's layout."""
        return (channels, side, side) if self.data_format == "NCHW" else (side, side, channels)

    def __str__(self) -> str:
        variants = [f"/{self.stride}"]
        if self.dilation > 1:
            variants.append(f" dilated {self.dilation}")
        if self.groups > 1:
            variants.append(f" in {self.groups} groups")
        kernel = f"{self.kernel}x{self.kernel}"
        return f"{self.size}x{self.size}, {self.channels}->{self.filters}, {kernel}{''.join(variants)}"


def _depthwise(name: str, size: int, channels: int, kernel: int, stride: int = 1, count: int = 1) -> Layer:
    return Layer(name, size, channels, channels, kernel, stride, groups=channels, count=count)


def _resnext(name: str, size: int, channels: int, stride: int = 1, count: int = 1) -> Layer:
    return Layer(name, size, channels, channels, 3, stride, groups=32, count=count)


MODELS: dict[str, tuple[Layer, ...]] = {
    # The variant that strides in the 3x3 layers (v1.5). STAGE_1x1a reduces, 1x1b expands, 1x1c reduces in later blocks.
    "resnet50": (
        Layer("conv1", 224, 3, 64, 7, 2),
        Layer("2_1x1a", 56, 64, 64, 1),
        Layer("2_3x3", 56, 64, 64, 3, count=3),
        Layer("2_1x1b", 56, 64, 256, 1, count=4),
        Layer("2_1x1c", 56, 256, 64, 1, count=2),
        Layer("3_reduce", 56, 256, 128, 1),
        Layer("3_3x3s2", 56, 128, 128, 3, 2),
        Layer("3_shortcut", 56, 256, 512, 1, 2),
        Layer("3_1x1a", 28, 512, 128, 1, count=3),
        Layer("3_3x3", 28, 128, 128, 3, count=3),
        Layer("3_1x1b", 28, 128, 512, 1, count=4),
        Layer("4_reduce", 28, 512, 256, 1),
        Layer("4_3x3s2", 28, 256, 256, 3, 2),
        Layer("4_shortcut", 28, 512, 1024, 1, 2),
        Layer("4_1x1a", 14, 1024, 256, 1, count=5),
        Layer("4_3x3", 14, 256, 256, 3, count=5),
        Layer("4_1x1b", 14, 256, 1024, 1, count=6),
        Layer("5_reduce", 14, 1024, 512, 1),
        Layer("5_3x3s2", 14, 512, 512, 3, 2),
        Layer("5_shortcut", 14, 1024, 2048, 1, 2),
        Layer("5_1x1a", 7, 2048, 512, 1, count=2),
        Layer("5_3x3", 7, 512, 512, 3, count=2),
        Layer("5_1x1b", 7, 512, 2048, 1, count=3),
    ),
    "vgg16": (
        Layer("1_1", 224, 3, 64, 3),
        Layer("1_2", 224, 64, 64, 3),
        Layer("2_1", 112, 64, 128, 3),
        Layer("2_2", 112, 128, 128, 3),
        Layer("3_1", 56, 128, 256, 3),
        Layer("3_2", 56, 256, 256, 3, count=2),
        Layer("4_1", 28, 256, 512, 3),
        Layer("4_2", 28, 512, 512, 3, count=2),
        Layer("5_1", 14, 512, 512, 3, count=3),
    ),
    # The depthwise layers; the others are 1x1, of which ResNet-50 has many.
    "mobilenet_v2": (
        _depthwise("1", 112, 32, 3),
        _depthwise("2a", 112, 96, 3, stride=2),
        _depthwise("2b", 56, 144, 3),
        _depthwise("3a", 56, 144, 3, stride=2),
        _depthwise("3b", 28, 192, 3, count=2),
        _depthwise("4a", 28, 192, 3, stride=2),
        _depthwise("4b", 14, 384, 3, count=4),
        _depthwise("5b", 14, 576, 3, count=2),
        _depthwise("6a", 14, 576, 3, stride=2),
        _depthwise("6b", 7, 960, 3, count=3),
    ),
    # The grouped layers of ResNeXt-50 32x4d.
    "resnext50": (
        _resnext("2_3x3", 56, 128, count=3),
        _resnext("3_3x3s2", 56, 256, stride=2),
        _resnext("3_3x3", 28, 256, count=3),
        _resnext("4_3x3s2", 28, 512, stride=2),
        _resnext("4_3x3", 14, 512, count=5),
        _resnext("5_3x3s2", 14, 1024, stride=2),
        _resnext("5_3x3", 7, 1024, count=2),
    ),
    # The 5x5 depthwise layers of EfficientNet-B0.
    "efficientnet_b0": (
        _depthwise("3a", 56, 144, 5, stride=2),
        _depthwise("3b", 28, 240, 5),
        _depthwise("5a", 14, 480, 5),
        _depthwise("5b", 14, 672, 5, count=2),
        _depthwise("6a", 14, 672, 5, stride=2),
        _depthwise("6b", 7, 1152, 5, count=3),
    ),
    # DeepLab v3's atrous spatial pyramid pooling for images of 513x513 at output stride 16.
    "deeplab_aspp": tuple(Layer(f"rate {rate}", 33, 2048, 256, 3, dilation=rate) for rate in (6, 12, 18)),
    # Padded, half as wide as the first one, for images of 256x256. An up-convolution's filter gradient is that of the
    # strided convolution it undoes.
    "unet": (
        Layer("down1_1", 256, 1, 32, 3),
        Layer("down1_2", 256, 32, 32, 3, count=2),
        Layer("down2_1", 128, 32, 64, 3),
        Layer("down2_2", 128, 64, 64, 3, count=2),
        Layer("down3_1", 64, 64, 128, 3),
        Layer("down3_2", 64, 128, 128, 3, count=2),
        Layer("down4_1", 32, 128, 256, 3),
        Layer("down4_2", 32, 256, 256, 3, count=2),
        Layer("bottom_1", 16, 256, 512, 3),
        Layer("bottom_2", 16, 512, 512, 3),
        Layer("up4_2x2", 32, 256, 512, 2, 2),
        Layer("up4_1", 32, 512, 256, 3),
        Layer("up3_2x2", 64, 128, 256, 2, 2),
        Layer("up3_1", 64, 256, 128, 3),
        Layer("up2_2x2", 128, 64, 128, 2, 2),
        Layer("up2_1", 128, 128, 64, 3),
        Layer("up1_2x2", 256, 32, 64, 2, 2),
        Layer("up1_1", 256, 64, 32, 3),
        Layer("classes", 256, 32, 2, 1),
    ),
}
MODELS["resnet50_nchw"] = tuple(
    dataclasses.replace(layer, data_format="NCHW") for layer in MODELS["resnet50"] if layer.kernel == 3
)
TITLES = {
    "resnet50": "ResNet-50",
    "resnet50_nchw": "ResNet-50 3x3, NCHW",
    "vgg16": "VGG-16",
    "mobilenet_v2": "MobileNet-V2, depthwise 3x3",
    "resnext50": "ResNeXt-50, 32 groups",
    "efficientnet_b0": "EfficientNet-B0, depthwise 5x5",
    "deeplab_aspp": "DeepLab v3 ASPP, dilated",
    "unet": "U-Net, 32 to 512 channels",
}
# One whose layers are done in no time, to try the harness with.
TINY = {
    "tiny": (
        Layer("3x3", 8, 3, 4, 3),
        Layer("2x2s2", 8, 4, 6, 2, 2),
        Layer("nchw", 8, 4, 6, 2, data_format="NCHW"),
    )
}
