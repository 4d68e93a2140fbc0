"""Defects of receiving: what is lost, run twice, overtaken, hidden or hoarded."""

from tests.defects.defect import Defect

CONSUMING = "mqtransport/channel/consuming.py"
FAILURES = "mqtransport/channel/failures.py"
HANDLING = "mqtransport/channel/handling.py"
INTAKE = "mqtransport/channel/intake.py"
LEASES = "mqtransport/channel/leases.py"
POLLING = "mqtransport/channel/polling.py"
RUNNERS = "mqtransport/channel/runners.py"
SETTLING = "mqtransport/channel/settling.py"

LEASE_CONTRACT = "tests/contract/test_leases.py"
LEASE_TESTS = "tests/unit/channel/test_leases.py"
ORDERED = "tests/contract/test_ordered.py"
POLL_TESTS = "tests/unit/channel/test_polling.py"
RUNNER_TESTS = "tests/unit/channel/test_runners.py"
SETTLE_TESTS = "tests/unit/channel/test_settling.py"
STOP = "tests/contract/test_stop.py"

DEFECTS = [
    Defect(
        "a message is acked before its dead letter copy is confirmed",
        FAILURES,
        "            moved = await self.dead_letters.copy(held, error, label)\n",
        "            self._settler.ack(held, Outcome.DEAD_LETTERED)\n"
        "            moved = await self.dead_letters.copy(held, error, label)\n",
        "tests/contract/test_dead_letters.py"
        "::test_a_message_is_acked_only_after_its_copy_is_confirmed",
    ),
    Defect(
        "a message is acked before its handler returned",
        HANDLING,
        "                if self._slots is not None:\n                    await",
        "                self._settler.ack(held)\n"
        "                if self._slots is not None:\n                    await",
        f"{LEASE_CONTRACT}::test_a_cancelled_error_of_the_handlers_own_is_a_failure_like_any_other",
    ),
    Defect(
        "a handler runs on beyond its time limit",
        LEASES,
        "                held.interrupt(Interruption.TIME_LIMIT)\n",
        "",
        f"{LEASE_TESTS}"
        "::test_a_handler_that_runs_too_long_is_cancelled_then_although_leases_are_good",
    ),
    Defect(
        "a handler's context variables reach the next message",
        RUNNERS,
        "or not _same(contextvars.copy_context(), clean)",
        "",
        f"{RUNNER_TESTS}::test_a_context_variable_that_is_left_behind_reaches_no_other_delivery",
    ),
    Defect(
        "a task in which a handler has waited is used again",
        RUNNERS,
        "            if self._rounds != rounds:\n                return\n",
        "",
        f"{RUNNER_TESTS}::test_a_task_in_which_a_handler_has_waited_is_used_no_more",
    ),
    Defect(
        "a cancellation that was taken back hits the next message",
        RUNNERS,
        '            if getattr(task, "_must_cancel", False):\n',
        '            if getattr(task, "must_cancel", False):\n',
        f"{RUNNER_TESTS}::test_a_cancellation_that_its_handler_takes_back_reaches_no_other_delivery",
    ),
    Defect(
        "the context of whoever starts a delivery reaches its handler",
        RUNNERS,
        "self._context.copy().run(asyncio.create_task, self._run(held))",
        "asyncio.create_task(self._run(held))",
        f"{ORDERED}::test_no_message_of_a_group_sees_what_a_handler_of_another_left_in_its_context",
    ),
    Defect(
        "a lease is forgotten when its handler was cancelled for running too long",
        FAILURES,
        "            self._watch(held)  # what follows may take longer than its lease\n",
        "",
        f"{ORDERED}::test_a_head_that_ran_too_long_keeps_its_lease_until_it_is_run_again",
    ),
    Defect(
        "leases are not renewed",
        LEASES,
        "            return held.interruption is None\n",
        "            return False\n",
        f"{LEASE_TESTS}::test_a_lease_is_renewed_ten_seconds_before_its_end_again_and_again",
    ),
    Defect(
        "a renewal asks for more than is left of the 12 hours",
        LEASES,
        "limits.max_lease_s - (now - held.received) - LEASE_SLACK_S",
        "limits.max_lease_s",
        f"{LEASE_TESTS}::test_a_renewal_never_asks_for_more_than_is_left_of_the_longest_lease",
    ),
    Defect(
        "a release asks for more than is left of the 12 hours",
        SETTLING,
        "limits.max_lease_s - age_s - LEASE_SLACK_S",
        "limits.max_lease_s",
        f"{SETTLE_TESTS}"
        "::test_a_release_asks_for_no_longer_than_the_broker_allows_since_the_receive",
    ),
    Defect(
        "a stop leaves hidden what waits in line",
        INTAKE,
        "            if held.task is None:\n"
        "                if self._ordered or self._lines.is_first(held):\n"
        "                    self._settler.release(held, 0.0)\n"
        "            elif not held.started:\n",
        "            if not held.started:\n",
        f"{ORDERED}::test_a_stop_gives_the_tail_back_while_its_head_still_runs",
    ),
    Defect(
        "a stop leaves hidden what waits for a slot",
        INTAKE,
        "            elif not held.started:\n                held.interrupt(Interruption.STOP)\n",
        "",
        f"{STOP}::test_deliveries_not_started_are_given_back_at_once_and_never_run",
    ),
    Defect(
        "a stop leaves hidden what the last poll brings",
        INTAKE,
        "            self._settler.release(held, 0.0)  # the last poll",
        "            #",
        f"{STOP}::test_what_the_last_poll_brings_is_given_back_at_once",
    ),
    Defect(
        "a stop cancels a receive that may hold a message",
        CONSUMING,
        "if self._tools.broker.capabilities.receive_cancellable and polling is not None:",
        "if polling is not None:",
        f"{STOP}::test_what_the_last_poll_brings_is_given_back_at_once",
    ),
    Defect(
        "a stop gives back what still runs",
        CONSUMING,
        "                self._hand.finish(held, Outcome.LEASE_LOST)\n",
        "                self._settler.release(held, 0.0)\n",
        f"{LEASE_CONTRACT}::test_a_handler_that_ignores_its_cancellation_is_not_released_at_stop",
    ),
    Defect(
        "Failed entries of an ack are ignored",
        SETTLING,
        "results = await broker.ack(queue, receipts)",
        "results = [None for _ in await broker.ack(queue, receipts)]",
        f"{SETTLE_TESTS}::test_a_failed_item_leaves_its_batch_mates_alone",
    ),
    Defect(
        "Failed entries of a release are ignored",
        SETTLING,
        "results = await broker.release(queue, receipts, delay_s=delay_s)",
        "results = [None for _ in await broker.release(queue, receipts, delay_s=delay_s)]",
        f"{SETTLE_TESTS}::test_a_failed_settle_is_tried_again_until_it_succeeds",
    ),
    Defect(
        "Failed entries of a renewal are ignored",
        LEASES,
        "            self.renewals += 1\n",
        "            self.renewals += 1\n            results = [None for _ in results]\n",
        f"{LEASE_TESTS}::test_a_stale_receipt_is_lost_at_once_and_its_batch_mates_are_renewed",
    ),
    Defect(
        "a group's tail stalls when its head is given back",
        INTAKE,
        "        for one in reversed(self._lines.cut(held)):\n"
        "            self._settler.release(one, 0.0)\n",
        "        self._lines.cut(held)\n",
        f"{ORDERED}::test_a_delay_that_does_not_fit_the_fence_gives_the_group_back_last_first",
    ),
    Defect(
        "a group's tail is run although its head failed",
        INTAKE,
        "        if self._ordered and held.outcome not in DONE:\n"
        "            self._give_back_behind(held)  # it comes back, and they may not overtake it\n"
        "            return\n",
        "",
        f"{ORDERED}::test_when_the_heads_lease_is_lost_its_tail_is_not_run_before_it",
    ),
    Defect(
        "the next of a group waits for company of the last one's ack",
        CONSUMING,
        "            linger_s=0.0\n",
        "            linger_s=0.2\n",
        f"{ORDERED}"
        "::test_the_next_message_of_a_group_does_not_wait_for_company_of_the_last_ones_ack",
    ),
    Defect(
        "a second delivery of a message runs beside the first",
        "mqtransport/channel/lines.py",
        "is not None else raw.broker_id\n",
        "is not None else raw.receipt\n",
        "tests/unit/channel/test_lines.py"
        "::test_a_second_delivery_of_the_same_message_waits_behind_the_first",
    ),
    Defect(
        "what is done but not deleted is run again",
        INTAKE,
        "        if held.outcome is Outcome.LEASE_LOST and held.settling in DONE:\n"
        "            self._remember(held)\n",
        "",
        "tests/contract/test_deliveries.py"
        "::test_a_message_done_under_a_stale_receipt_is_deleted_when_it_comes_again",
    ),
    Defect(
        "more is in hand than concurrency and prefetch",
        CONSUMING,
        "Hand(options.concurrency + options.prefetch)",
        "Hand(options.concurrency + options.prefetch + 10)",
        "tests/contract/test_deliveries.py::test_no_more_is_in_hand_than_concurrency_and_prefetch",
    ),
    Defect(
        "polls ignore each other's slots",
        POLLING,
        "free = self._hand.free - self._asked",
        "free = self._hand.free",
        f"{POLL_TESTS}::test_open_polls_never_ask_for_more_than_the_hand_holds",
    ),
    Defect(
        "polls loop tightly while the broker is down",
        POLLING,
        "max(self._options.backoff.delay_s(failures, self._tools.random), 0.1)",
        "0.01",
        f"{POLL_TESTS}::test_failed_polls_back_off_with_jitter_within_bounds",
    ),
    Defect(
        "a dead letter has no reason",
        "mqtransport/channel/dead_letters.py",
        "            raw.body,\n            attributes,\n",
        "            raw.body,\n            raw.attributes,\n",
        f"{LEASE_CONTRACT}"
        "::test_a_handler_beyond_max_processing_is_cancelled_which_counts_as_a_failure",
    ),
    Defect(
        "a message that kills takes its neighbours along",
        "mqtransport/channel/lines.py",
        "        return unexplained > self._max_attempts\n",
        "        return False\n",
        "tests/contract/test_suspects.py",
    ),
    Defect(
        "the tail of a group is judged by its head's deliveries",
        HANDLING,
        "runs = held.retries + 1 if held.waited else held.attempt",
        "runs = held.attempt",
        "tests/contract/test_suspects.py",
    ),
    Defect(
        "a lowered size limit is not learned from a refused copy",
        "mqtransport/channel/landing.py",
        "        if entry in self._outbox:\n            try:",
        "        if entry in self._outbox and not entry.as_is:\n            try:",
        "tests/contract/test_limits.py",
    ),
    Defect(
        "the delivery limit is not enforced",
        HANDLING,
        "            self._check_delivery_count(held)\n",
        "",
        f"{LEASE_CONTRACT}::test_a_message_delivered_too_often_is_dead_lettered_unrun",
    ),
    Defect(
        "a handler's task swallows its cancellation",
        HANDLING,
        "            except asyncio.CancelledError as cancelled:\n"
        "                if cancelled_from_outside(held):\n"
        "                    raise\n",
        "            except asyncio.CancelledError as cancelled:\n",
        "tests/unit/channel/test_in_hand.py"
        "::test_a_handler_cancelled_from_outside_ends_cancelled_and_settles_nothing",
    ),
    Defect(
        "what can never be handled is tried again",
        "mqtransport/policy.py",
        "    if isinstance(error, ConsumeMessageError | UndeliverableError):\n"
        "        return MoveToDeadLetters(error)\n",
        "",
        "tests/unit/test_policy.py::test_what_can_never_work_is_dead_lettered_at_once",
    ),
]
