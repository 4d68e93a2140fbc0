"""SQSApp: an MQApp on Amazon SQS, by the call shape that existing services use."""

from __future__ import annotations

from typing import Any, Self

from mqtransport.app import MQApp
from mqtransport.settings import MQSettings


class SQSApp(MQApp):
    """An MQApp on Amazon SQS, or on anything that speaks its protocol."""

    @classmethod
    async def create(
        cls,
        username: str | None = None,
        password: str | None = None,
        region: str | None = None,
        url: str | None = None,
        *,
        settings: MQSettings | None = None,
    ) -> Self:
        """Make an app on SQS.

        Args:
            username: the AWS access key id; with ``password``, both or neither. Neither is the
                AWS default chain (environment, profile, container and instance roles).
            password: the AWS secret access key.
            region: the AWS region; None leaves it to ``MQ_REGION``, then to the AWS settings.
            url: the endpoint of an emulator, as ``http://localhost:9324``, or an ``sqs://``
                URL; None is AWS, or what ``MQ_URL`` says.
            settings: a settings object; None reads the environment.

        Raises:
            ConfigurationError: half a credential pair, no region, a bad URL, or aiobotocore is
                not installed.
        """
        given = {"username": username, "password": password, "region": region, "url": url}
        options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if url is None or not url.startswith("sqs:"):
            options["broker"] = "sqs"
        return await cls.connect(settings=settings, **options)
