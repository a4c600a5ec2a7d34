"""Texts that are nearly the same: MinHash finds candidates among millions, and each is compared in full.

A text is the set of its runs of five characters, case and white space aside, so any script will do. Two texts are near
when the sets' Jaccard similarity reaches a threshold. Source: Broder, On the resemblance and containment of documents,
1997; the bands: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 2014, 3.4.

Libraries were measured on 100,000 texts of 183 characters: datasketch takes 48 s, rensa 4 s, this 3 s. Both give every
pair of a bucket, of which there are 100 million where 10,000 rows follow one template; this stays linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from llmkit.metrics.observations import Ints
from llmkit.output.report import Advance

Hashes = npt.NDArray[np.uint32]

SHINGLE = 5  # characters
PERMUTATIONS = 100
CANDIDATE_SHARE = 0.99  # of the pairs at the threshold, this share at least becomes a candidate
SLACK = 0.15  # an estimate from 100 permutations is off by less, nearly always: three standard deviations at 0.5
CHARACTERS_PER_SLICE = 1 << 18  # their hashes stay in the cache
NEIGHBOURS = 8  # neighbours in a bucket that each text is compared with, beside the bucket's first
METHOD = f"MinHash of {PERMUTATIONS} permutations over runs of {SHINGLE} characters, candidates compared in full"


def near_groups(texts: Sequence[str], threshold: float, advance: Advance) -> Ints:
    """Return the number of the group of each text, (n,): groups are chains of texts of which each is near another.

    Args:
        texts: distinct ones; empty ones are near nothing.
        threshold: the Jaccard similarity from which two texts are near.
        advance: is called with the numbers of texts that are done.
    """
    plain = [" ".join(text.casefold().split()) for text in texts]
    signatures = _signatures(plain, advance)
    kept = np.flatnonzero([bool(text) for text in plain])
    groups = np.arange(len(plain))
    for band in _bands(signatures, threshold):
        for first, second in _links(band, kept):
            apart = groups[first] != groups[second]  # a chain that is known already is not compared again
            first, second = _likely(signatures, first[apart], second[apart], threshold)
            pairs = zip(first.tolist(), second.tolist(), strict=True)
            near = np.fromiter((_jaccard(plain[a], plain[b]) >= threshold for a, b in pairs), dtype=bool)
            if near.any():
                groups = _joined(groups, first[near], second[near])
    return groups


def rows_per_band(threshold: float) -> int:
    """Return how many permutations make a band: the most that finds nearly all pairs at the threshold."""
    sizes = [size for size in range(1, PERMUTATIONS + 1) if PERMUTATIONS % size == 0]
    return max(size for size in sizes if 1 - (1 - threshold**size) ** (PERMUTATIONS // size) >= CANDIDATE_SHARE)


def _signatures(texts: Sequence[str], advance: Advance) -> Hashes:
    """Return the least hash of each text's runs under each permutation, (texts, permutations)."""
    dice = np.random.default_rng(1)
    factors = dice.integers(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * 2 + 1
    offsets = dice.integers(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)
    signatures = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    for part in _slices(texts):
        hashes, starts = _shingles(texts[part])
        for number, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
            signatures[part, number] = np.minimum.reduceat(hashes * factor + offset, starts)
        advance(part.stop - part.start)
    return signatures


def _slices(texts: Sequence[str]) -> Iterator[slice]:
    """Yield slices of texts with about so many characters as are worked on at once."""
    start, size = 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= CHARACTERS_PER_SLICE:
            yield slice(start, place + 1)
            start, size = place + 1, 0
    if start < len(texts):
        yield slice(start, len(texts))


def _shingles(texts: Sequence[str]) -> tuple[Hashes, Ints]:
    """Return the hash of each run of characters of all texts, and where those of each text begin; each has one."""
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sizes = np.array([len(text) for text in padded])
    ends = np.cumsum(sizes)
    hashes = np.zeros(len(letters) - SHINGLE + 1, dtype=np.uint64)
    for place in range(SHINGLE):
        hashes = hashes * np.uint64(0x100000001B3) + letters[place : len(hashes) + place]
    is_inside = np.ones(len(hashes), dtype=bool)  # and not over the edge between two texts
    for place in range(1, SHINGLE):
        is_inside[ends[:-1] - place] = False
    starts = np.concatenate([[0], np.cumsum(sizes - SHINGLE + 1)[:-1]])
    return _mixed(hashes[is_inside]), starts


def _mixed(hashes: npt.NDArray[np.uint64]) -> Hashes:
    """Return 32 bits of each hash, of which every bit depends on all bits: the finalizer of MurmurHash3."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(factor)
    return (hashes >> np.uint64(32)).astype(np.uint32)


def _bands(signatures: Hashes, threshold: float) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield a key of each text for each band: equal where all permutations of the band are."""
    size = rows_per_band(threshold)
    for start in range(0, PERMUTATIONS, size):
        keys = np.zeros(len(signatures), dtype=np.uint64)
        for column in signatures[:, start : start + size].T:
            keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        yield keys


def _links(keys: npt.NDArray[np.uint64], kept: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs of texts with equal keys: the first of each bucket with all of it, then neighbours in it."""
    order = kept[np.argsort(keys[kept], kind="stable")]
    ordered = keys[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    heads = np.repeat(order[begins], np.diff(np.append(begins, len(ordered))))
    yield heads, order
    for step in range(1, NEIGHBOURS):
        same = ordered[step:] == ordered[:-step]
        yield order[:-step][same], order[step:][same]


def _likely(signatures: Hashes, first: Ints, second: Ints, threshold: float) -> tuple[Ints, Ints]:
    """Return those pairs, once each, whose estimated similarity is not far below the threshold."""
    pairs = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)]), axis=1)
    likely = np.zeros(pairs.shape[1], dtype=bool)
    for start in range(0, len(likely), 1 << 16):
        a, b = pairs[:, start : start + (1 << 16)]
        likely[start : start + (1 << 16)] = (signatures[a] == signatures[b]).mean(1) >= threshold - SLACK
    return pairs[0, likely], pairs[1, likely]


def _jaccard(first: str, second: str) -> float:
    a, b = _runs(first), _runs(second)
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _runs(text: str) -> set[str]:
    return {text[place : place + SHINGLE] for place in range(max(1, len(text) - SHINGLE + 1))}


def _joined(groups: Ints, first: Ints, second: Ints) -> Ints:
    """Return the groups after those of each pair became one."""
    graph = coo_array((np.ones(len(first), dtype=bool), (groups[first], groups[second])), shape=(len(groups),) * 2)
    _, labels = connected_components(graph, directed=False)
    joined: Ints = labels[groups].astype(np.int64)
    return joined
