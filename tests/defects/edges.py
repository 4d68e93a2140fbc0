"""Defects at the edges: what is believed of a broker's answer, and what is let in or out."""

from tests.defects.defect import Defect

ENCODING = "mqtransport/brokers/sqs/encoding.py"
FAST = "mqtransport/brokers/sqs/fast.py"
EXCHANGE = "mqtransport/brokers/sqs/exchange.py"
CAUSES = "mqtransport/brokers/sqs/causes.py"
SETTINGS = "mqtransport/settings.py"

ENCODING_TESTS = "tests/unit/brokers/test_sqs_encoding.py"
EXCHANGE_TESTS = "tests/unit/brokers/test_sqs_exchange.py"
FAST_TESTS = "tests/unit/brokers/test_sqs_fast.py"
SIGNING_TESTS = "tests/unit/brokers/test_sqs_signing.py"

DEFECTS = [
    Defect(
        "the driver ignores Failed entries of a settle",
        ENCODING,
        "    return [entry if isinstance(entry, BrokerError) else None for entry in found]\n",
        "    return [None for _ in found]\n",
        f"{ENCODING_TESTS}::TestSettling::test_each_receipt_gets_its_own_result",
    ),
    Defect(
        "a garbage reply confirms a settle",
        ENCODING,
        '    where = "neither" if good is None else "both"\n',
        '    if good is None:\n        return {}\n    where = "both"\n',
        f"{ENCODING_TESTS}::TestSettling::test_an_empty_answer_settles_nothing",
    ),
    Defect(
        "a garbage reply confirms a send",
        ENCODING,
        '        return call.lost("the MD5 that SQS reports is not that of the body sent")\n',
        "        pass\n",
        f"{ENCODING_TESTS}::TestConfirming::test_anything_less_is_unknown",
    ),
    Defect(
        "a garbage reply is an empty poll",
        ENCODING,
        '            raise BadReplyError("the answer is no ReceiveMessage answer")\n',
        "            pass\n",
        f"{ENCODING_TESTS}::TestDeliveries::test_garbage_is_told_apart_from_an_empty_poll",
    ),
    Defect(
        "a body is unpacked before its size is checked",
        "mqtransport/wire.py",
        "unpacker.decompress(data, max_bytes)",
        "unpacker.decompress(data)",
        "tests/unit/test_wire.py::test_a_body_at_the_bound_is_unpacked_and_one_byte_more_is_not",
    ),
    Defect(
        "the settings show a secret",
        SETTINGS,
        "    url: str | None = Field(default=None, repr=False)\n",
        "    url: str | None = None\n",
        "tests/unit/test_settings.py::test_secrets_stand_in_no_representation",
    ),
    Defect(
        "an error of the settings shows a secret",
        SETTINGS,
        """{one['msg']}")""",
        """{one['msg']}: {one.get('input', error.errors()[0]['input'])}")""",
        "tests/unit/test_settings.py"
        "::test_a_bad_value_is_refused_by_the_variables_name_without_the_value",
    ),
    Defect(
        "the driver shows a secret",
        "mqtransport/brokers/sqs/driver.py",
        'return f"<SQSBroker region={region!r} {state}>"',
        "key = self._options.secret_key\n"
        '        return f"<SQSBroker {key and key.get_secret_value()} region={region!r} {state}>"',
        "tests/unit/brokers/test_sqs_options.py::test_secrets_show_nowhere",
    ),
    Defect(
        "an error shows the text of the server",
        "mqtransport/brokers/sqs/errors.py",
        'found = f"SQS answered {name}, HTTP {status}"',
        'found = f"SQS answered {name}, HTTP {status}: {text}"',
        "tests/unit/brokers/test_sqs_errors.py::TestMessages"
        "::test_foreign_text_never_gets_into_the_message",
    ),
    Defect(
        "an error shows the values of a message",
        "mqtransport/channel/outgoing.py",
        "self.refuse(label, message_id, summarise(error))",
        'self.refuse(label, message_id, f"{summarise(error)} in {fields}")',
        "tests/unit/channel/test_outgoing.py::test_no_refusal_repeats_a_value",
    ),
    Defect(
        "health passes while the ping fails",
        "fastapi_mq/health.py",
        "        if error is not None:\n"
        '            return Health("fail", error)\n'
        "        return self._channel_warning() or PASS\n",
        "        return self._channel_warning() or PASS\n",
        "tests/fastapi_mq/test_plugin_health.py"
        "::test_a_bad_answer_is_kept_for_1_s_and_recovers_by_itself",
    ),
    Defect(
        "a signing key outlives its day",
        "mqtransport/brokers/sqs/signing.py",
        "        if (secret, day) != (self._secret, self._day):\n",
        "        if secret != self._secret:\n",
        f"{SIGNING_TESTS}::test_a_kept_key_never_outlives_its_day_or_its_credentials",
    ),
    Defect(
        "the fast path is taken though it signs otherwise",
        FAST,
        '            raise _CannotFollow("its signature is another")\n',
        "            pass\n",
        f"{FAST_TESTS}::TestLearning::test_what_it_cannot_sign_alike_keeps_it_off_for_good",
    ),
    Defect(
        "the fast path leaves out a header that it does not know",
        FAST,
        "    if strange := headers.keys() - _KNOWN:\n",
        "    if (strange := headers.keys() - _KNOWN) and not headers:\n",
        f"{FAST_TESTS}::TestWhichWay"
        "::test_a_header_that_only_aiobotocore_can_make_keeps_it_off_and_is_logged_once",
    ),
    Defect(
        "a signed request follows a redirect",
        FAST,
        "allow_redirects=False",
        "allow_redirects=True",
        f"{FAST_TESTS}::TestTransport::test_a_signed_request_follows_no_redirect",
    ),
    Defect(
        "an answer that nobody asked for confirms a settle",
        EXCHANGE,
        "if not connection.closed and not connection.protocol.should_close:",
        "if not connection.closed:",
        f"{EXCHANGE_TESTS}::TestAnswers::test_one_that_comes_in_an_idle_moment_confirms_nothing",
    ),
    Defect(
        "a cancelled request gives its connection to the next one",
        EXCHANGE,
        "                connection.transport.abort()\n            connection.close()\n",
        "                connection.protocol._payload = None\n            connection.release()\n",
        f"{EXCHANGE_TESTS}::TestAnswers::test_one_to_a_cancelled_request_confirms_nothing",
    ),
    Defect(
        "a peer that does not read keeps the sockets of requests that were given up",
        EXCHANGE,
        "                connection.transport.abort()\n",
        "                pass\n",
        f"{EXCHANGE_TESTS}::TestAnswers::test_one_that_never_comes_leaves_no_socket_to_a_deaf_peer",
    ),
    Defect(
        "a proxy's password stands in a traceback",
        CAUSES,
        """ or "@" in str(exc)\n""",
        "\n",
        "tests/unit/brokers/test_sqs_causes.py::test_what_quotes_a_secret_is_not_shown",
    ),
    Defect(
        "a message's body stands in a traceback",
        CAUSES,
        "        HttpProcessingError,\n",
        "",
        "tests/unit/brokers/test_sqs_causes.py"
        "::test_an_answer_that_breaks_http_is_not_quoted_in_a_traceback",
    ),
    Defect(
        "a credential ends the head of a request",
        EXCHANGE,
        "        if any(end in values for end in _ENDS):\n",
        "        if not values:\n",
        f"{EXCHANGE_TESTS}::TestRequests::test_a_header_of_two_lines_is_not_sent",
    ),
    Defect(
        "tracing does not see the fast path",
        EXCHANGE,
        "if session.trace_configs:",
        "if False:",
        f"{EXCHANGE_TESTS}::TestRequests::test_who_traces_aiohttp_sees_all_of_them",
    ),
    Defect(
        "a request that aiohttp's change has broken is sent again",
        EXCHANGE,
        "raise ExchangeError(error, sent=sent) from error",
        "raise ExchangeError(error, sent=False) from error",
        f"{EXCHANGE_TESTS}::TestAnotherAiohttp"
        "::test_one_that_answers_otherwise_leaves_one_outcome_unknown_and_no_more",
    ),
    Defect(
        "a connection with half a request on it is used again",
        EXCHANGE,
        "if transport.get_write_buffer_size() or refused:",
        "if refused:",
        f"{EXCHANGE_TESTS}::TestAnswers"
        "::test_one_that_comes_before_all_was_sent_costs_the_next_request_nothing",
    ),
    Defect(
        "a connection with half a request in the kernel or below TLS is used again",
        EXCHANGE,
        "if transport.get_write_buffer_size() or refused:",
        "if transport.get_write_buffer_size():",
        f"{EXCHANGE_TESTS}::TestAnswers"
        "::test_a_refusal_before_all_was_read_costs_the_next_request_nothing",
    ),
    Defect(
        "a server in trouble gets a hundred connections for a request",
        EXCHANGE,
        "                if new:\n",
        "                if False:\n",
        f"{EXCHANGE_TESTS}::TestNewConnections::test_one_of_no_use_is_not_followed_by_more",
    ),
    Defect(
        "a connection is lost where aiohttp has changed",
        EXCHANGE,
        "            if connection is not None:\n",
        "            if False:\n",
        f"{EXCHANGE_TESTS}::TestAnotherAiohttp"
        "::test_one_without_what_tells_a_useless_connection_gets_its_connection_back",
    ),
    Defect(
        "the fast path goes on at an endpoint that has moved",
        FAST,
        "            if answer.status in _ELSEWHERE:",
        "            if False:",
        f"{FAST_TESTS}::TestTransport::test_where_endpoints_redirect_aiobotocore_goes_on_alone",
    ),
    Defect(
        "a broker is used from another loop than its connections are",
        "mqtransport/brokers/sqs/driver.py",
        "if asyncio.get_running_loop() is not self._loop:",
        "if False:",
        "tests/unit/brokers/test_sqs_driver.py"
        "::TestFaults::test_another_loop_gets_no_connection_of_this_one",
    ),
]
