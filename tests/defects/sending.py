"""Defects of sending: what is lost, doubled, overtaken or misreported on its way to the broker."""

from tests.defects.defect import Defect

LANDING = "mqtransport/channel/landing.py"
PRODUCING = "mqtransport/channel/producing.py"
SENDER = "mqtransport/channel/sender.py"

SENDER_TESTS = "tests/unit/channel/test_sender.py"

DEFECTS = [
    Defect(
        "a refused connection kills the producer's task",
        SENDER,
        "        except BrokerError as error:\n",
        "        except BrokerError as error:\n"
        "            if not error.maybe_done:\n"
        "                raise\n",
        f"{SENDER_TESTS}::test_buffered_messages_survive_an_outage_of_an_hour",
    ),
    Defect(
        "an export empties the buffer",
        PRODUCING,
        "        waiting = [entry for entry in self._sender.outbox if entry.waiter is None]\n",
        "        waiting = [entry for entry in self._sender.outbox if entry.waiter is None]\n"
        "        for entry in waiting:\n"
        "            self._sender.outbox.remove(entry)\n",
        "tests/contract/test_usage_errors.py::test_imports_are_taken_whole_or_not_at_all",
    ),
    Defect(
        "Failed entries of a send are ignored",
        SENDER,
        "refused = self._landing.answered(batch, answers)",
        'refused = self._landing.answered(batch, ["sent" for _ in answers])',
        f"{SENDER_TESTS}::test_a_partial_failure_is_tried_again_alone_with_the_same_id",
    ),
    Defect(
        "a lost reply counts as not_sent",
        LANDING,
        "            entry.maybe_sent |= error.maybe_done\n",
        "",
        f"{SENDER_TESTS}::test_the_outcome_of_a_send_that_ran_out_of_time",
    ),
    Defect(
        "one bad message has its batch refused",
        LANDING,
        "        for entry in batch:\n"
        "            entry.alone = True\n"
        "        self._outbox.put_back(batch)\n"
        "        return []\n",
        "        return [(entry, error) for entry in batch]\n",
        f"{SENDER_TESTS}::test_a_refused_batch_is_sent_one_by_one_to_find_the_bad_message",
    ),
    Defect(
        "one bad message has its batch refused by the driver",
        "mqtransport/brokers/sqs/driver.py",
        "results[position] = verb.about.refused(why)",
        "verb.refuse_if(why)",
        "tests/unit/brokers/test_sqs_driver.py::TestSending"
        "::test_what_sqs_would_refuse_is_not_sent_and_hurts_no_neighbour",
    ),
    Defect(
        "a refused message is tried again",
        LANDING,
        "            elif result.retryable:\n",
        "            elif result.retryable or isinstance(result, RefusedError):\n",
        f"{SENDER_TESTS}::test_a_permanent_failure_fails_at_once_and_leaves_its_batch_mates_alone",
    ),
    Defect(
        "a retry has a new message id",
        LANDING,
        "                entry.failures += 1\n",
        "                from dataclasses import replace\n\n"
        "                entry.failures += 1\n"
        '                entry.message = replace(entry.message, id=f"again-{entry.failures}")\n',
        f"{SENDER_TESTS}::test_a_partial_failure_is_tried_again_alone_with_the_same_id",
    ),
    Defect(
        "a retry has a new deduplication id",
        "mqtransport/brokers/sqs/encoding.py",
        "message.dedup_id or message.id",
        'message.dedup_id or f"{message.id}-{id(entry)}"',
        "tests/unit/brokers/test_sqs_encoding.py::TestEntries"
        "::test_on_an_ordered_queue_the_message_id_stands_in_for_a_dedup_id",
    ),
    Defect(
        "sends loop tightly while the broker is down",
        LANDING,
        "        delay_s = self._options.backoff.delay_s(self._trouble.failures, "
        "self._tools.random)\n",
        "        delay_s = 0.2\n",
        f"{SENDER_TESTS}::test_attempts_at_a_broker_that_fails_at_once_grow_apart",
    ),
    Defect(
        "a group's message leaves while the one before it is under way",
        SENDER,
        "        box = OrderedOutbox if is_fifo(queue.physical) else Outbox\n",
        "        box = Outbox\n",
        f"{SENDER_TESTS}::test_on_an_ordered_queue_one_message_of_a_group_is_under_way_at_a_time",
    ),
]
