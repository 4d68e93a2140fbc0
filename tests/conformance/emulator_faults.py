"""What the emulators get wrong, case by case: the only reasons for which a case is skipped.

Seen on moto 5.2.5, ministack 1.5.33 and fauxqs 2.4.1. What AWS does is said by its API reference,
but for the second ack, where AWS says nothing and the other two emulators agree with the suite.
``docs/testing.md`` shows this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Emulator = Literal["moto", "ministack", "fauxqs"]
EMULATORS: tuple[Emulator, ...] = get_args(Emulator)

RACES = "now and then gives a message to two receives"
"""moto looks whether a message is visible, and hides it, without a lock in between
(``receive_message`` in its ``sqs/models.py``). Whether a case fails of that is a matter of
microseconds."""

FAULTS: Mapping[str, Mapping[Emulator, str]] = {
    "test_a_duplicate_in_another_group_is_one_too": {
        "moto": "answers with an id of its own",
    },
    "test_a_duplicate_is_confirmed_with_the_first_id_and_not_delivered": {
        "moto": "answers with an id of its own",
    },
    "test_a_duplicate_leaves_its_neighbours_alone": {
        "moto": "answers with an id of its own",
    },
    "test_a_receive_made_again_brings_the_same_messages": {
        "moto": "ignores the attempt id",
        "ministack": "ignores the attempt id",
        "fauxqs": "ignores the attempt id",
    },
    "test_a_receive_made_again_sets_the_leases_anew": {
        "moto": "ignores the attempt id",
        "ministack": "ignores the attempt id",
        "fauxqs": "ignores the attempt id",
    },
    "test_a_stale_ack_leaves_the_group_to_its_new_holder": {
        "moto": "deletes by an old receipt",
    },
    "test_a_stale_ack_leaves_the_message_to_its_new_holder": {
        "moto": "deletes by an old receipt",
    },
    "test_a_stale_release_or_extension_does_not_disturb_the_new_holder": {
        "moto": "un-hides by an old receipt",
    },
    "test_a_waiting_receive_wakes_when_a_release_frees_the_group": {
        "moto": "does not wake",
    },
    "test_a_waiting_receive_wakes_when_an_ack_frees_the_group": {
        "moto": "does not wake",
    },
    "test_acking_twice_is_fine": {
        "ministack": "refuses the second delete",
    },
    "test_an_oversize_item_fails_alone": {
        "moto": "refuses the whole batch",
    },
    "test_characters_beyond_the_basic_plane_come_back_exact": {
        "fauxqs": "refuses U+10000 and above",
    },
    "test_competing_receivers_see_each_group_in_order": {
        "moto": RACES,
    },
    "test_competing_receivers_share_without_overlap": {
        "moto": RACES,
    },
    "test_one_bad_receipt_among_good_ones_fails_alone": {
        "fauxqs": "deletes garbage with success",
    },
    "test_the_end_of_a_lease_brings_the_group_back_in_its_order": {
        "moto": "breaks the order",
    },
    "test_the_message_id_stands_in_for_a_missing_dedup_id": {
        "moto": "answers with an id of its own",
    },
    "test_the_size_limit_is_exact_and_counts_attributes": {
        "moto": "does not count attributes",
        "ministack": "does not count attributes",
        "fauxqs": "counts binary values as base64",
    },
}
"""By case of the suite: what each emulator that fails it does instead."""


def skips(emulator: Emulator) -> dict[str, str]:
    """Return the cases that this emulator cannot pass, and why."""
    return {
        case: f"{emulator} {faults[emulator]}"
        for case, faults in FAULTS.items()
        if emulator in faults
    }
