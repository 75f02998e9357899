"""Encoders for the k-quants Q4_K, Q5_K and Q6_K: blocks of 256 weights whose parts have scales of their own, themselves quantised.

The layouts are those of ggml (block_q4_K, block_q5_K, block_q6_K); the choice of scales is a weighted least-squares fit, repeated
for a few candidate ranges, of which the best is kept.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 256
_CHUNK = 2048  # blocks at a time: about 2 MB per temporary
_SHRINKS = np.linspace(-1.0, 1.0, 9, dtype=np.float32)


def encode_k(values: np.ndarray, format: str) -> np.ndarray:
    """float32 [..., n] with n a multiple of 256 → uint8 [..., n / 256 × bytes per block] in format q4_k, q5_k or q6_k."""
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, _BLOCK)
    if format == "q6_k":
        parts = [_q6(blocks[at:at + _CHUNK]) for at in range(0, len(blocks), _CHUNK)]
    else:
        bits = 4 if format == "q4_k" else 5
        parts = [_q45(blocks[at:at + _CHUNK], bits) for at in range(0, len(blocks), _CHUNK)]
    return np.concatenate(parts).reshape(*values.shape[:-1], -1)


def _safe(numerator: np.ndarray | float, denominator: np.ndarray) -> np.ndarray:
    """The quotient, float32, 0 where the denominator is too small to mean anything."""
    shape = np.broadcast_shapes(np.shape(numerator), denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape, np.float32), where=np.abs(denominator) > 1e-30)


def _fit_range(parts: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset (both ≥ 0) for x ≈ scale·level − offset, level in 0..top: float32 [n, parts, 32] → two of [n, parts].

    Large weights count for more: an error on them moves the product by more.
    """
    weight = np.sqrt((parts * parts).mean(-1, keepdims=True)) + np.abs(parts)
    low, high = np.minimum(parts.min(-1), 0), parts.max(-1)
    scale, offset = (high - low) / np.float32(top), -low
    best = _error(parts, weight, scale, offset, top)
    sum_w, sum_x = weight.sum(-1), (weight * parts).sum(-1)
    for shrink in _SHRINKS:
        inverse = _safe(top + shrink, high - low)[..., None]
        level = np.clip(np.rint(inverse * (parts - low[..., None])), 0, top)
        sum_l, sum_ll, sum_lx = (weight * level).sum(-1), (weight * level * level).sum(-1), (weight * level * parts).sum(-1)
        determinant = sum_w * sum_ll - sum_l * sum_l
        new_scale = _safe(sum_w * sum_lx - sum_x * sum_l, determinant)
        new_offset = -_safe(sum_ll * sum_x - sum_l * sum_lx, determinant)
        through_zero = new_offset < 0
        new_scale = np.where(through_zero, _safe(sum_lx, sum_ll), new_scale)
        new_offset = np.where(through_zero, 0, new_offset)
        error = _error(parts, weight, new_scale, new_offset, top)
        better = (error < best) & (new_scale > 0)
        scale, offset, best = np.where(better, new_scale, scale), np.where(better, new_offset, offset), np.where(better, error, best)
    return scale, offset


def _levels(parts: np.ndarray, scale: np.ndarray, offset: np.ndarray, top: int) -> np.ndarray:
    return np.clip(np.rint(_safe(parts + offset[..., None], scale[..., None])), 0, top)


def _error(parts: np.ndarray, weight: np.ndarray, scale: np.ndarray, offset: np.ndarray, top: int) -> np.ndarray:
    difference = scale[..., None] * _levels(parts, scale, offset, top) - offset[..., None] - parts
    return (weight * difference * difference).sum(-1)


def _half(values: np.ndarray) -> np.ndarray:
    """float32 → the nearest float16, as float32; what decoding will see."""
    return np.clip(values, -65504, 65504).astype(np.float16).astype(np.float32)


def _q45(blocks: np.ndarray, bits: int) -> np.ndarray:
    """d, dmin (float16), 12 bytes with eight 6-bit scales and offsets, [32 bytes of fifth bits,] 128 bytes of low nibbles."""
    count, top = len(blocks), (1 << bits) - 1
    parts = blocks.reshape(count, 8, 32)
    scale, offset = _fit_range(parts, top)
    d, dmin = _half(scale.max(-1) / 63), _half(offset.max(-1) / 63)
    scales = np.clip(np.rint(_safe(scale, d[:, None])), 0, 63).astype(np.uint8)
    offsets = np.clip(np.rint(_safe(offset, dmin[:, None])), 0, 63).astype(np.uint8)
    level = _levels(parts, d[:, None] * scales, dmin[:, None] * offsets, top).astype(np.uint8)
    head = np.stack([d, dmin], -1).astype(np.float16).view(np.uint8).reshape(count, 4)
    pairs = level.reshape(count, 4, 2, 32)
    low = (pairs[:, :, 0] & 15) | ((pairs[:, :, 1] & 15) << 4)
    found = [head, _pack_scales(scales, offsets), low.reshape(count, 128)]
    if bits == 5:
        high = (level >> 4) << np.arange(8, dtype=np.uint8)[None, :, None]
        found.insert(2, np.bitwise_or.reduce(high, axis=1).astype(np.uint8))
    return np.concatenate(found, axis=1)


def _pack_scales(scales: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Eight 6-bit scales and eight 6-bit offsets in 12 bytes: the last four of each lend their top bits to the first four."""
    first = (scales[:, :4] & 63) | ((scales[:, 4:] >> 4) << 6)
    second = (offsets[:, :4] & 63) | ((offsets[:, 4:] >> 4) << 6)
    third = (scales[:, 4:] & 15) | ((offsets[:, 4:] & 15) << 4)
    return np.concatenate([first, second, third], axis=1).astype(np.uint8)


def _fit_symmetric(parts: np.ndarray, top: int) -> np.ndarray:
    """Signed scale for x ≈ scale·level, level in −top..top−1: float32 [n, parts, 16] → [n, parts]."""
    weight = parts * parts
    extreme = np.take_along_axis(parts, np.abs(parts).argmax(-1, keepdims=True), -1)
    best_gain, scale = np.full(parts.shape[:-1], -1.0, np.float32), np.zeros(parts.shape[:-1], np.float32)
    for shrink in _SHRINKS:
        level = np.clip(np.rint(_safe(-(top + shrink), extreme) * parts), -top, top - 1)
        cross, square = (weight * level * parts).sum(-1), (weight * level * level).sum(-1)
        gain = _safe(cross * cross, square)
        better = gain > best_gain
        scale, best_gain = np.where(better, _safe(cross, square), scale), np.where(better, gain, best_gain)
    return scale


def _q6(blocks: np.ndarray) -> np.ndarray:
    """128 bytes of low nibbles, 64 bytes of upper pairs of bits, sixteen int8 scales, d (float16)."""
    count = len(blocks)
    parts = blocks.reshape(count, 16, 16)
    scale = _fit_symmetric(parts, 32)
    extreme = np.take_along_axis(scale, np.abs(scale).argmax(-1, keepdims=True), -1)
    d = _half(extreme / -128)
    scales = np.clip(np.rint(_safe(scale, d)), -128, 127)
    step = (d * scales)[..., None]
    level = np.clip(np.rint(_safe(parts, step)), -32, 31) + 32
    level = level.astype(np.uint8).reshape(count, 2, 4, 32)
    low = ((level[:, :, :2] & 15) | ((level[:, :, 2:] & 15) << 4)).reshape(count, 128)
    high = level >> 4
    upper = (high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)).reshape(count, 64)
    stored = d.astype(np.float16).view(np.uint8).reshape(count, 2)
    return np.concatenate([low, upper, scales.astype(np.int8).view(np.uint8), stored], axis=1)
