"""Slots: who gets which, what lies in them, and that freed or unused ones are invisible."""

import random

import pytest
import torch

from planned_diffusion.generation.engine.cache import SLOTS_PER_BUCKET, SlotCache
from planned_diffusion.generation.visibility import NO_DOCUMENT


@pytest.fixture
def cache():
    return SlotCache(torch.device("cpu"))


def write(cache: SlotCache, slots: list[int], document: int, layers: int = 2) -> None:
    """Marks slots as a document's and stores their own number as key, its negative as value."""
    labels = torch.zeros(5, len(slots), dtype=torch.long)
    labels[0] = document
    cache.write_to(torch.tensor(slots), labels)
    states = torch.tensor(slots, dtype=torch.float32)[None, None, :, None].expand(1, 2, -1, 4)  # [1, heads, N, size]
    for layer in range(layers):
        cache.update(states + layer, -states - layer, layer)


def documents(cache: SlotCache) -> list[int]:
    return cache.labels.document.tolist()


def test_an_empty_cache_shows_nothing(cache):
    assert (cache.used, cache.taken, documents(cache)) == (0, 0, [])


def test_slots_are_handed_out_from_the_bottom(cache):
    assert cache.allocate(3) == [0, 1, 2]
    assert cache.allocate(2) == [3, 4]
    cache.release([1, 3])
    assert cache.allocate(3) == [1, 3, 5]
    assert cache.taken == 6


def test_attention_reads_whole_buckets(cache):
    cache.allocate(1)
    assert cache.used == SLOTS_PER_BUCKET
    cache.allocate(SLOTS_PER_BUCKET)
    assert cache.used == 2 * SLOTS_PER_BUCKET
    assert cache.get_mask_sizes(7) == (2 * SLOTS_PER_BUCKET, 0)


def test_unused_slots_belong_to_nobody(cache):
    slots = cache.allocate(3)
    write(cache, slots, document=5)
    assert documents(cache) == [5] * 3 + [NO_DOCUMENT] * (SLOTS_PER_BUCKET - 3)


def test_update_scatters_and_returns_every_slot_in_use(cache):
    slots = cache.allocate(6)
    write(cache, [slots[4], slots[1]], document=0)
    write(cache, [slots[2]], document=0)
    states = torch.zeros(1, 2, 1, 4)
    cache.write_to(torch.tensor([0]), torch.zeros(5, 1, dtype=torch.long))
    for layer in range(2):
        keys, values = cache.update(states, states, layer)
        assert keys.shape == values.shape == (1, 2, SLOTS_PER_BUCKET, 4)
        assert keys[0, 0, :6, 0].tolist() == [0, 1 + layer, 2 + layer, 0, 4 + layer, 0]
        assert values[0, 1, :6, 3].tolist() == [0, -1 - layer, -2 - layer, 0, -4 - layer, 0]


def test_running_a_position_again_replaces_it(cache):
    write(cache, cache.allocate(2), document=0)
    cache.write_to(torch.tensor([1]), torch.tensor([[0], [3], [1], [0], [1]]))
    keys, _ = cache.update(torch.full((1, 2, 1, 4), 9.0), torch.zeros(1, 2, 1, 4), 0)
    assert keys[0, 0, :2, 0].tolist() == [0, 9]
    assert (cache.labels.span[1], cache.labels.round[1]) == (3, 1)


def test_released_slots_are_invisible_at_once(cache):
    write(cache, cache.allocate(4), document=7)
    cache.release([0, 2])
    assert documents(cache)[:4] == [NO_DOCUMENT, 7, NO_DOCUMENT, 7]
    assert cache.taken == 2
    cache.release([])
    cache.release([1, 3])
    assert (cache.used, cache.taken) == (0, 0)


def test_growing_keeps_what_is_there():
    cache = SlotCache(torch.device("cpu"), capacity=SLOTS_PER_BUCKET)
    write(cache, cache.allocate(SLOTS_PER_BUCKET), document=1)
    more = cache.allocate(3 * SLOTS_PER_BUCKET)
    write(cache, more[-1:], document=2)
    assert documents(cache) == [1] * SLOTS_PER_BUCKET + [NO_DOCUMENT] * (3 * SLOTS_PER_BUCKET - 1) + [2]
    cache.write_to(torch.tensor([0]), torch.zeros(5, 1, dtype=torch.long))
    for layer in range(2):
        keys, _ = cache.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4), layer)
        expected = torch.arange(SLOTS_PER_BUCKET) + float(layer)
        expected[0] = 0
        assert keys[0, 0, :SLOTS_PER_BUCKET, 0].equal(expected)
        assert keys[0, 0, 4 * SLOTS_PER_BUCKET - 1, 0] == 4 * SLOTS_PER_BUCKET - 1 + layer
        assert keys.isfinite().all()  # an invisible value is multiplied by zero: it must be a number


def test_random_traffic_against_a_plain_list(cache):
    """Allocations and releases at random; the labels must always say who holds which slot."""
    choose, held = random.Random(0), {}
    for document in range(300):
        if held and choose.random() < 0.45:
            cache.release(held.pop(choose.choice(list(held))))
        else:
            slots = cache.allocate(choose.randint(1, 90))
            write(cache, slots, document, layers=1)
            held[document] = slots
        owners = {slot: document for document, slots in held.items() for slot in slots}
        assert len(owners) == cache.taken == sum(map(len, held.values()))
        assert documents(cache) == [owners.get(slot, NO_DOCUMENT) for slot in range(cache.used)]
        assert cache.used % SLOTS_PER_BUCKET == 0 and cache.used < max(owners, default=-1) + 1 + SLOTS_PER_BUCKET


def test_what_transformers_asks_of_a_cache(cache):
    cache.allocate(5)
    assert cache.get_seq_length() == 0  # positions are always given
    assert cache.get_max_cache_shape() == -1
