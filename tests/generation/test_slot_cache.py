"""Slots: who gets which, what lies in them, and that freed or unused ones are invisible."""

import random

import pytest
import torch

from planned_diffusion.generation.engine.cache import SlotCache
from planned_diffusion.generation.engine.slots import SLOTS_PER_BUCKET, SlotTable
from planned_diffusion.generation.visibility import CAUSAL, CLEAN, NO_DOCUMENT


@pytest.fixture
def table():
    return SlotTable(SlotCache(torch.device("cpu")))


def take(table: SlotTable, count: int, document: int = 0) -> list[int]:
    """Slots for so many further positions of a document."""
    start = len(table.held_by(document)) if document in table._of else 0
    return table.place(document, [CLEAN] * count, range(start, start + count))


def write(table: SlotTable, slots: list[int], document: int, layers: int = 2) -> None:
    """Marks slots as a document's and stores their own number as key, its negative as value."""
    labels = torch.zeros(5, len(slots), dtype=torch.long)
    labels[0] = document
    table.cache.write_to(torch.tensor(slots), labels, table.used)
    states = torch.tensor(slots, dtype=torch.float32)[None, None, :, None].expand(1, 2, -1, 4)  # [1, heads, N, size]
    for layer in range(layers):
        table.cache.update(states + layer, -states - layer, layer)


def write_zero_to(table: SlotTable, slot: int) -> None:
    table.cache.write_to(torch.tensor([slot]), torch.zeros(5, 1, dtype=torch.long), table.used)


def documents(table: SlotTable) -> list[int]:
    """The document of every slot that a forward would read now."""
    table.cache.write_to(torch.empty(0, dtype=torch.long), torch.empty(5, 0, dtype=torch.long), table.used)
    return table.cache.labels.document.tolist()


def test_an_empty_cache_shows_nothing(table):
    assert (table.used, table.taken, documents(table)) == (0, 0, [])


def test_slots_are_handed_out_from_the_bottom(table):
    assert take(table, 3) == [0, 1, 2]
    assert take(table, 2) == [3, 4]
    table.drop(0, [1, 3])
    assert table.place(0, [CLEAN] * 3, [5, 6, 7]) == [1, 3, 5]
    assert table.taken == 6


def test_a_state_keeps_its_slot(table):
    """A position has a state in each stream, and each document its own."""
    assert table.place(0, [CLEAN] * 2, [0, 1]) == [0, 1]
    assert table.place(0, [CLEAN, CAUSAL, CLEAN], [1, 1, 2]) == [1, 2, 3]
    assert table.place(1, [CLEAN] * 2, [0, 1]) == [4, 5]
    assert table.place(0, [CAUSAL, CLEAN, CLEAN], [1, 2, 0]) == [2, 3, 0]
    assert list(table.held_by(0)) == [0, 1, 2, 3] and table.taken == 6


def test_attention_reads_whole_buckets(table):
    take(table, 1)
    assert table.used == SLOTS_PER_BUCKET
    take(table, SLOTS_PER_BUCKET)
    assert table.used == 2 * SLOTS_PER_BUCKET
    write(table, [0], document=0)
    assert table.cache.get_mask_sizes(7) == (2 * SLOTS_PER_BUCKET, 0)


def test_unused_slots_belong_to_nobody(table):
    slots = take(table, 3)
    write(table, slots, document=5)
    assert documents(table) == [5] * 3 + [NO_DOCUMENT] * (SLOTS_PER_BUCKET - 3)


def test_update_scatters_and_returns_every_slot_in_use(table):
    slots = take(table, 6)
    write(table, [slots[4], slots[1]], document=0)
    write(table, [slots[2]], document=0)
    states = torch.zeros(1, 2, 1, 4)
    write_zero_to(table, 0)
    for layer in range(2):
        keys, values = table.cache.update(states, states, layer)
        assert keys.shape == values.shape == (1, 2, SLOTS_PER_BUCKET, 4)
        assert keys[0, 0, :6, 0].tolist() == [0, 1 + layer, 2 + layer, 0, 4 + layer, 0]
        assert values[0, 1, :6, 3].tolist() == [0, -1 - layer, -2 - layer, 0, -4 - layer, 0]


def test_running_a_position_again_replaces_it(table):
    write(table, take(table, 2), document=0)
    table.cache.write_to(torch.tensor([1]), torch.tensor([[0], [3], [1], [0], [1]]), table.used)
    keys, _ = table.cache.update(torch.full((1, 2, 1, 4), 9.0), torch.zeros(1, 2, 1, 4), 0)
    assert keys[0, 0, :2, 0].tolist() == [0, 9]
    assert (table.cache.labels.span[1], table.cache.labels.round[1]) == (3, 1)


def test_released_slots_are_invisible_at_once(table):
    write(table, take(table, 4, document=7), document=7)
    table.drop(7, [0, 2])
    assert documents(table)[:4] == [NO_DOCUMENT, 7, NO_DOCUMENT, 7]
    assert table.taken == 2
    table.drop(7, [])
    table.release(7)
    assert (table.used, table.taken) == (0, 0)
    table.release(7)  # who holds nothing gives nothing back
    assert (table.used, table.taken) == (0, 0)


def test_growing_keeps_what_is_there():
    table = SlotTable(SlotCache(torch.device("cpu"), capacity=SLOTS_PER_BUCKET))
    write(table, take(table, SLOTS_PER_BUCKET), document=1)
    more = take(table, 3 * SLOTS_PER_BUCKET)
    write(table, more[-1:], document=2)
    assert documents(table) == [1] * SLOTS_PER_BUCKET + [NO_DOCUMENT] * (3 * SLOTS_PER_BUCKET - 1) + [2]
    write_zero_to(table, 0)
    for layer in range(2):
        keys, _ = table.cache.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4), layer)
        expected = torch.arange(SLOTS_PER_BUCKET) + float(layer)
        expected[0] = 0
        assert keys[0, 0, :SLOTS_PER_BUCKET, 0].equal(expected)
        assert keys[0, 0, 4 * SLOTS_PER_BUCKET - 1, 0] == 4 * SLOTS_PER_BUCKET - 1 + layer
        assert keys.isfinite().all()  # an invisible value is multiplied by zero: it must be a number


def test_a_copied_prefix_holds_the_states_of_its_donor(table):
    write(table, take(table, 4, document=3), document=3)
    table.copy_prefix(3, 8, count=3)
    copies = list(table.held_by(8))
    assert copies == [4, 5, 6] and documents(table)[:7] == [3] * 4 + [8] * 3
    write_zero_to(table, 0)
    keys, values = table.cache.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4), 0)
    assert keys[0, 0, copies, 0].tolist() == [0, 1, 2] and values[0, 1, copies, 3].tolist() == [0, -1, -2]


def test_random_traffic_against_a_plain_list(table):
    """Allocations and releases at random; the labels must always say who holds which slot."""
    choose, held = random.Random(0), {}
    for document in range(300):
        if held and choose.random() < 0.45:
            released = choose.choice(list(held))
            table.release(released)
            del held[released]
        else:
            slots = take(table, choose.randint(1, 90), document)
            write(table, slots, document, layers=1)
            held[document] = slots
        owners = {slot: document for document, slots in held.items() for slot in slots}
        assert len(owners) == table.taken == sum(map(len, held.values()))
        assert documents(table) == [owners.get(slot, NO_DOCUMENT) for slot in range(table.used)]
        assert table.used % SLOTS_PER_BUCKET == 0 and table.used < max(owners, default=-1) + 1 + SLOTS_PER_BUCKET


def test_what_transformers_asks_of_a_cache(table):
    take(table, 5)
    assert table.cache.get_seq_length() == 0  # positions are always given
    assert table.cache.get_max_cache_shape() == -1
