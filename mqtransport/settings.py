"""Settings, read from the environment (prefix ``MQ_``) when the object is built."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from mqtransport.channel.options import ReceiveOptions, SendOptions
from mqtransport.errors import ConfigurationError
from mqtransport.limits import queue_key

logger = logging.getLogger("mqtransport.settings")

_QUEUE_VARIABLE = "mq_queue_"


def _plain_seconds(value: object) -> object:
    # bool is a number to Python; MQ_WAIT_S=true is a mistake to everybody else.
    if isinstance(value, bool):
        raise ValueError("a number of seconds is needed")
    return value


Seconds = Annotated[float, BeforeValidator(_plain_seconds), Field(allow_inf_nan=False)]


def _by_key(queues: dict[str, str]) -> dict[str, str]:
    # So that an argument for "my-queue" wins over MQ_QUEUE_MY_QUEUE.
    return {queue_key(name): physical for name, physical in queues.items()}


QueueNames = Annotated[dict[str, str], AfterValidator(_by_key)]


class MQSettings(BaseSettings):
    """What an app needs to know about its broker and its queues.

    Every field is an environment variable with the prefix ``MQ_``, in upper case. Arguments
    win over the environment. Empty variables count as unset.

    Attributes:
        url: the broker: ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``sqs://[region][?endpoint_url=...]``; with ``MQ_BROKER=sqs`` also the plain
            ``http(s)://`` endpoint. None is chosen by ``broker``, else the memory broker.
        broker: ``memory`` or ``sqs``; ``sqlite`` needs a ``url`` too.
        region: the AWS region.
        username: the AWS access key id.
        password: the AWS secret access key. Both or neither; neither is the AWS default chain.
        sqs_fast_path: whether calls to SQS may leave out botocore's pipeline.
        queue_prefix: goes before every queue name that has no variable of its own.
        queues: queue names used in code to physical names or URLs; each is a variable
            ``MQ_QUEUE_<NAME>``, with every character but letters and digits as ``_``.
        create_queues: create missing queues (embedded brokers always do).
        confirm: whether sends wait for the broker's confirmation.
        concurrency: handlers at a time per channel.
        prefetch: deliveries held beyond that per channel.
        wait_s: how long a poll waits.
        lease_s: how long a delivery is ours before renewal.
        max_processing_s: longest run of a handler.
        send_timeout_s: after which a send fails.
        stop_timeout_s: how long a stop lets handlers finish; below the usual 30 s until a
            process manager kills.
    """

    model_config = SettingsConfigDict(
        env_prefix="MQ_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    url: str | None = Field(default=None, repr=False)
    broker: Annotated[str, AfterValidator(str.lower)] | None = None
    region: str | None = None
    username: SecretStr | None = None
    password: SecretStr | None = None
    sqs_fast_path: bool = True
    queue_prefix: str = ""
    queues: QueueNames = Field(default_factory=dict, repr=False)
    create_queues: bool = False
    confirm: bool = True
    concurrency: int = Field(default=10, ge=1)
    prefetch: int = Field(default=0, ge=0)
    wait_s: Seconds = Field(default=20.0, ge=0)
    lease_s: Seconds = Field(default=30.0, ge=1, le=43_200)
    max_processing_s: Seconds = Field(default=300.0, gt=0)
    send_timeout_s: Seconds = Field(default=10.0, gt=0)
    stop_timeout_s: Seconds = Field(default=25.0, ge=0)

    def __init__(self, **values: Any) -> None:
        _refuse_unknown(values, set(type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_describe(error)) from None  # its text may quote secrets
        except SettingsError as error:
            name = str(error).split('"')[1:2]  # it names the field; its cause quotes the value
            raise ConfigurationError(f"MQ_{''.join(name).upper()}: it is no JSON") from None
        if (self.username is None) != (self.password is None):
            missing = "MQ_PASSWORD" if self.password is None else "MQ_USERNAME"
            raise ConfigurationError(
                f"{missing} is missing: set MQ_USERNAME and MQ_PASSWORD both, or neither to use "
                f"the AWS default credential chain"
            )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the ``MQ_QUEUE_<NAME>`` variables to the usual sources."""
        names = _QueueNames(settings_cls, env_settings, dotenv_settings)
        return init_settings, names, env_settings, dotenv_settings, file_secret_settings

    @classmethod
    def merged(
        cls, settings: MQSettings | None, url: str | None, options: Mapping[str, Any]
    ) -> MQSettings:
        """Return settings in which single options win over an object, or over the environment.

        Args:
            settings: what was given as an object; None reads the environment.
            url: the broker's URL, if it was given by itself.
            options: single settings by name.

        Raises:
            ConfigurationError: they cannot be right.
        """
        # Neither is shown: what was put in the wrong place may hold a password.
        if settings is not None and not isinstance(settings, MQSettings):
            raise ConfigurationError("settings must be an MQSettings(...) object")
        if url is not None and not isinstance(url, str):
            raise ConfigurationError("the URL must be a str, as in MQApp.connect('memory://')")
        chosen = dict(options)
        if url is not None:
            chosen["url"] = url
            if not url.lower().startswith("http"):
                # The argument names the broker; MQ_BROKER must not argue.
                chosen.setdefault("broker", None)
        if settings is None:
            return cls(**chosen)
        if not chosen:
            return settings
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        return cls(**{**given, **chosen})

    def physical_queue(self, name: str) -> str:
        """Return the physical name or URL of a queue named in code."""
        return self.queues.get(queue_key(name)) or self.queue_prefix + name

    def send_options(self) -> SendOptions:
        """Return how producing channels send by default."""
        return SendOptions(confirm=self.confirm, send_timeout_s=self.send_timeout_s)

    def receive_options(self) -> ReceiveOptions:
        """Return how consuming channels receive by default."""
        return ReceiveOptions(
            concurrency=self.concurrency,
            prefetch=self.prefetch,
            wait_s=self.wait_s,
            lease_s=self.lease_s,
            max_processing_s=self.max_processing_s,
        )


class _QueueNames(PydanticBaseSettingsSource):
    """Collects ``MQ_QUEUE_<NAME>``, and warns of ``MQ_`` variables that nothing reads."""

    def __init__(
        self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls)
        self._sources = sources

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: this source fills one field as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        queues: dict[str, str] = {}
        known = {f"mq_{name}" for name in self.settings_cls.model_fields}
        for source in reversed(self._sources):  # the environment wins over .env
            if not isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                continue
            for variable, value in source.env_vars.items():
                lower = variable.lower()
                if not lower.startswith("mq_") or lower in known:
                    continue
                if not lower.startswith(_QUEUE_VARIABLE):
                    _warn_unknown(lower, known)
                elif value:
                    queues[lower.removeprefix(_QUEUE_VARIABLE)] = value
        return {"queues": queues} if queues else {}


def _refuse_unknown(values: Mapping[str, Any], known: set[str]) -> None:
    for name in values:
        if name in known or name.startswith("_"):  # _env_file and its like are pydantic's
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
        raise ConfigurationError(f"there is no setting {name!r}; {hint}")


def _warn_unknown(variable: str, known: set[str]) -> None:
    close = difflib.get_close_matches(variable, known, n=1)
    hint = f"; did you mean {close[0].upper()}?" if close else ""
    logger.warning("the variable %s is unknown and ignored%s", variable.upper(), hint)


def _describe(error: ValidationError) -> str:
    parts = []
    for one in error.errors(include_input=False, include_context=False, include_url=False):
        field = ".".join(map(str, one["loc"])) or "settings"
        parts.append(f"MQ_{field.upper()}: {one['msg']}")
    return "; ".join(parts)
