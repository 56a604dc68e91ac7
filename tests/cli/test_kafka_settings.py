"""How Kafka is spoken to: what does not fit together stops the start with one line."""

from pathlib import Path

import faust
import pytest

from services.cli.environment import read_settings, secrets_of
from services.cli.output import Code, Failed
from services.places import broker_of
from services.stage_workers.app import credentials_of

KAFKA = {"kafka_bootstrap_servers": "kafka-1:9093"}
USER = {"kafka_username": "septet", "kafka_password": "longpassword"}


def protocol(name: str) -> dict[str, str]:
    return KAFKA | {"kafka_security_protocol": name}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (protocol("SASL_SSL"), "which needs SEPTET_KAFKA_USERNAME and SEPTET_KAFKA_PASSWORD"),
        (protocol("SASL_PLAINTEXT") | {"kafka_username": "me"}, "SEPTET_KAFKA_PASSWORD"),
        (KAFKA | USER, "to be SASL_SSL or SASL_PLAINTEXT, and it is PLAINTEXT"),
        (protocol("SSL") | USER, "to be SASL_SSL or SASL_PLAINTEXT, and it is SSL"),
        (KAFKA | {"kafka_ca_file": "ca.pem"}, "to be SSL or SASL_SSL, and it is PLAINTEXT"),
        (protocol("SSL") | {"kafka_key_file": "key.pem"}, "needs SEPTET_KAFKA_CERTIFICATE_FILE"),
        (
            protocol("SSL") | {"kafka_ca_file": "nowhere.pem"},
            "SEPTET_KAFKA_CA_FILE: cannot be read: No such file or directory",
        ),
        (
            protocol("SSL") | {"kafka_ca_file": __file__},
            "SEPTET_KAFKA_CA_FILE: is not the PEM that it should be",
        ),
        (
            protocol("SSL") | {"kafka_certificate_file": "nowhere.pem"},
            "SEPTET_KAFKA_KEY_FILE: cannot be read: No such file or directory",
        ),
        (
            protocol("SSL") | {"kafka_certificate_file": __file__},
            "SEPTET_KAFKA_KEY_FILE: is not the PEM that it should be",
        ),
        (protocol("TLS"), "SEPTET_KAFKA_SECURITY_PROTOCOL: Input should be"),
        (
            protocol("SASL_SSL") | USER | {"kafka_sasl_mechanism": "GSSAPI"},
            "SEPTET_KAFKA_SASL_MECHANISM: Input should be",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_one_line(given: dict[str, str], says: str) -> None:
    with pytest.raises(Failed) as failed:
        read_settings(**given)
    assert failed.value.code is Code.USAGE
    assert says in failed.value.sentence
    assert "\n" not in failed.value.sentence
    assert USER["kafka_password"] not in failed.value.sentence


def test_a_password_goes_to_every_client_and_into_no_log(tmp_path: Path) -> None:
    settings = read_settings(**protocol("SASL_PLAINTEXT"), **USER, data_dir=tmp_path)
    security = broker_of(settings).security
    assert broker_of(settings).connection == {
        "bootstrap_servers": "kafka-1:9093",
        "security_protocol": "SASL_PLAINTEXT",
        "ssl_context": None,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "septet",
        "sasl_plain_password": "longpassword",
    }
    credentials = credentials_of(security)
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("septet", "longpassword")
    assert credentials.protocol.value == "SASL_PLAINTEXT"
    assert "longpassword" in secrets_of(settings)
    assert "longpassword" not in repr((settings, broker_of(settings)))


def test_the_embedded_broker_is_spoken_to_in_the_clear_whatever_is_set() -> None:
    settings = read_settings(**protocol("SASL_PLAINTEXT") | USER | {"kafka_bootstrap_servers": ""})
    assert broker_of(settings).security.options["security_protocol"] == "PLAINTEXT"
    assert credentials_of(broker_of(settings).security) is None
