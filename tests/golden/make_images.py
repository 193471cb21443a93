#!/usr/bin/env python3
"""Writes small image files (tests/golden/images/) and what PIL and torchvision make of them
(tests/golden/images.safetensors).

    python3 tests/golden/make_images.py

Needs Pillow, torchvision and NumPy. The stored pixels were made with Pillow 13.0 (its wheel brings
libjpeg-turbo 3.1) and torchvision 0.29. Names:
    decode.<file>          Image.open(file).convert("RGB"), (H, W, 3)
    grey.<file>            the same with convert("L"), (H, W, 1)
    resize.<case>          of rgb.png; the case is written out in tests/data/resize_test.cpp
    evaluate.<case>        torchvision's Resize and CenterCrop of rgb.png
    op.<name>              an operation on rgb.png, its arguments in tests/data/image_ops_test.cpp
    randaugment.<op>.<m>   timm's definition of the op at magnitude m, sign +1 at 9, -1 at 4.3
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from torchvision import transforms
from torchvision.transforms import functional as F

from golden_file import write

HERE = Path(__file__).resolve().parent
FILES = HERE / "images"
WIDTH, HEIGHT = 37, 29


def picture():
    """Gradients, a disc with a hard edge, and noise: something for every filter to get wrong."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    noise = np.random.default_rng(3).normal(0, 12, (HEIGHT, WIDTH, 3))
    rgb = np.stack([40 + 5 * x, 230 - 6 * y, 128 + 60 * np.sin(x / 4) * np.cos(y / 5)], axis=-1)
    rgb[(x - 22) ** 2 + (y - 11) ** 2 < 49] = (230, 40, 20)
    return Image.fromarray(np.clip(rgb + noise, 0, 255).astype(np.uint8))


def write_files(image):
    grey = image.convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: the orientation that PIL's convert does not apply
    image.save(FILES / "420.jpg", quality=90, subsampling=2)
    image.save(FILES / "422.jpg", quality=90, subsampling=1)
    image.save(FILES / "444.jpg", quality=90, subsampling=0)
    image.save(FILES / "progressive.jpg", quality=85, progressive=True)
    image.save(FILES / "turned.jpg", quality=90, exif=exif)
    grey.save(FILES / "grey.jpg", quality=90)
    image.convert("CMYK").save(FILES / "cmyk.jpg", quality=90)
    image.save(FILES / "rgb.png")
    grey.save(FILES / "grey.png")
    image.convert("1").save(FILES / "bits.png")
    image.quantize(16).save(FILES / "palette.png", transparency=3)
    alpha = Image.fromarray(np.linspace(0, 255, WIDTH * HEIGHT).astype(np.uint8).reshape(HEIGHT, WIDTH))
    rgba = image.copy()
    rgba.putalpha(alpha)
    rgba.save(FILES / "alpha.png")
    Image.merge("LA", (grey, alpha)).save(FILES / "grey_alpha.png")
    deep = np.asarray(grey).astype(np.uint16)
    Image.fromarray(deep + (deep > 200) * np.uint16(1000)).save(FILES / "grey16.png")
    image.save(FILES / "rgb.bmp")
    image.save(FILES / "rgb.ppm")


def resized(image, box, size, way, window=None):
    # Rows, then columns. Up to version 12 Pillow always does so; 13 sometimes turns the order round, which
    # changes the rounding (bilinear by one level at most).
    part = image.crop(box)
    result = part.resize((size[0], part.size[1]), way).resize(size, way)
    return result.crop(window) if window else result


def randaugment(image, op, m, sign, way):
    """timm 1.0, timm/data/auto_augment.py: the functions of the "increasing" set."""
    fill = (124, 116, 104)  # of ImageNet's mean
    geometry = {"resample": way, "fillcolor": fill}
    factor = max(0.1, 1 + sign * m / 10 * 0.9)
    shear, shift = sign * m / 10 * 0.3, sign * m / 10 * 0.45

    def affine(*matrix):
        return image.transform(image.size, Image.Transform.AFFINE, matrix, **geometry)

    def solarize_add(add):
        return image.point([min(255, i + add) if i < 128 else i for i in range(256)] * 3)

    return {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        "Rotate": lambda: image.rotate(sign * m / 10 * 30, **geometry),
        "PosterizeIncreasing": lambda: ImageOps.posterize(image, 4 - int(m / 10 * 4)),
        "SolarizeIncreasing": lambda: ImageOps.solarize(image, 256 - min(256, int(m / 10 * 256))),
        "SolarizeAdd": lambda: solarize_add(min(128, int(m / 10 * 110))),
        "ColorIncreasing": lambda: ImageEnhance.Color(image).enhance(factor),
        "ContrastIncreasing": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "BrightnessIncreasing": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "SharpnessIncreasing": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "ShearX": lambda: affine(1, shear, 0, 0, 1, 0),
        "ShearY": lambda: affine(1, 0, 0, shear, 1, 0),
        "TranslateXRel": lambda: affine(1, 0, shift * image.size[0], 0, 1, 0),
        "TranslateYRel": lambda: affine(1, 0, 0, 0, 1, shift * image.size[1]),
    }[op]()


OPS = (
    "AutoContrast Equalize Invert Rotate PosterizeIncreasing SolarizeIncreasing SolarizeAdd ColorIncreasing "
    "ContrastIncreasing BrightnessIncreasing SharpnessIncreasing ShearX ShearY TranslateXRel TranslateYRel"
).split()


def pixels(image):
    array = np.asarray(image)
    return array.reshape(array.shape[0], array.shape[1], -1)


def main():
    FILES.mkdir(exist_ok=True)
    image = picture()
    write_files(image)
    out = {}
    for file in sorted(FILES.iterdir()):
        out[f"decode.{file.name}"] = pixels(Image.open(file).convert("RGB"))
        if file.name in ("420.jpg", "cmyk.jpg", "rgb.png", "alpha.png"):
            out[f"grey.{file.name}"] = pixels(Image.open(file).convert("L"))
    bilinear, bicubic = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
    box = (5, 3, 32, 27)
    out["resize.down"] = pixels(resized(image, (0, 0, 37, 29), (16, 12), bilinear))
    out["resize.down_bicubic"] = pixels(resized(image, (0, 0, 37, 29), (16, 12), bicubic))
    out["resize.up"] = pixels(resized(image, box, (40, 41), bilinear))
    out["resize.up_bicubic"] = pixels(resized(image, box, (40, 41), bicubic))
    out["resize.mixed"] = pixels(resized(image, box, (40, 9), bicubic))
    out["resize.width_only"] = pixels(resized(image, box, (11, 24), bilinear))
    out["resize.height_only"] = pixels(resized(image, box, (27, 11), bilinear))
    out["resize.window"] = pixels(resized(image, box, (20, 19), bilinear, (3, 5, 17, 16)))
    out["resize.far"] = pixels(resized(image, (0, 0, 37, 29), (3, 2), bicubic))
    out["resize.grey"] = pixels(resized(image.convert("L"), box, (16, 12), bilinear))
    for name, side, crop_pct, way in (
        ("20", 20, 0.875, F.InterpolationMode.BILINEAR),
        ("21_bicubic", 21, 0.9, F.InterpolationMode.BICUBIC),
        ("29_whole", 29, 1.0, F.InterpolationMode.BILINEAR),
    ):
        evaluate = transforms.Compose(
            [transforms.Resize(math.floor(side / crop_pct), way), transforms.CenterCrop(side)]
        )
        out[f"evaluate.{name}"] = pixels(evaluate(image))
    out["op.brightness"] = pixels(F.adjust_brightness(image, 1.37))
    out["op.contrast"] = pixels(F.adjust_contrast(image, 0.63))
    out["op.saturation"] = pixels(F.adjust_saturation(image, 1.8))
    out["op.hue"] = pixels(F.adjust_hue(image, 0.23))
    out["op.hue_back"] = pixels(F.adjust_hue(image, -0.31))
    out["op.mirror"] = pixels(F.hflip(image))
    for op in OPS:
        out[f"randaugment.{op}.9"] = pixels(randaugment(image, op, 9, 1, bilinear))
        if op not in ("AutoContrast", "Equalize", "Invert"):
            out[f"randaugment.{op}.4.3"] = pixels(randaugment(image, op, 4.3, -1, bicubic))
    write("images", out)


if __name__ == "__main__":
    main()
