"""Certificates that openssl makes, as every client takes them."""

from pathlib import Path

import faust

from services.cli.environment import read_settings
from services.places import broker_of
from services.stage_workers.app import credentials_of
from tests.cli.test_kafka_settings import USER, protocol
from tests.engines.secured import make_certificates


def test_certificates_go_to_every_client(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    files = {"kafka_ca_file": made.authority, "kafka_certificate_file": made.client}
    security = broker_of(read_settings(**protocol("SSL"), **files)).security
    assert security.options == {"security_protocol": "SSL", "ssl_context": security.tls}
    assert security.tls is not None
    assert security.tls.check_hostname
    credentials = credentials_of(security)
    assert isinstance(credentials, faust.SSLCredentials)
    assert credentials.context is security.tls
    signed = broker_of(read_settings(**protocol("SASL_SSL"), **USER, **files)).security
    assert signed.options["security_protocol"] == "SASL_SSL"
    both = credentials_of(signed)
    assert isinstance(both, faust.SASLCredentials)
    assert (both.protocol.value, both.ssl_context) == ("SASL_SSL", signed.tls)
