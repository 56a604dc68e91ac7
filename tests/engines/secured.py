"""An Apache Kafka that lets in only whom it knows: by name and password, or by certificate.

Its certificates are made by openssl for this one broker, its user by Kafka's own tool. A plain
listener stays open for the tests themselves.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.engines.kafka import CLUSTER, Process, properties_of, run_tool
from tests.engines.processes import EngineFailed, free_port

USER, PASSWORD = "septet", "correct:horse/battery@staple!"
SERVICES = tuple(
    f"septet-{name}" for name in ("orchestrator", "projector", "scheduler", "stage-worker", "api")
)
SECURITY = """
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{with_password},\
SSL://127.0.0.1:{with_certificate},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{with_password},\
SSL://127.0.0.1:{with_certificate}
listener.security.protocol.map=\
PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{user};User:CN=client
"""
OPENSSL = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[member]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: who signs, and key with certificate of a broker and of a client."""

    authority: Path
    broker: Path
    client: Path


class SecuredBroker(Process):
    """`with_password` is SASL_SSL with SCRAM-SHA-512, `with_certificate` is mutual TLS."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.certificates = make_certificates(folder)
        ports = {"with_password": free_port(), "with_certificate": free_port()}
        self.with_password, self.with_certificate = (f"127.0.0.1:{one}" for one in ports.values())
        properties = folder / "server.properties"
        plain = properties_of(self.port, self.controller, self.data)
        kept = [line for line in plain.splitlines() if "listener" not in line.partition("=")[0]]
        security = SECURITY.format(
            port=self.port, controller=self.controller, folder=folder, user=USER, **ports
        )
        controllers = "controller.listener.names=CONTROLLER"
        properties.write_text("\n".join([*kept, controllers, security]))
        users = [f"SCRAM-SHA-512=[name={name},password={PASSWORD}]" for name in (USER, *SERVICES)]
        options = [word for user in users for word in ("--add-scram", user)]
        format_as = ("format", "-t", CLUSTER, "-c", str(properties), *options)
        run_tool("kafka.tools.StorageTool", *format_as)
        self.start()


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and what it signs, valid for two days. Raises EngineFailed."""
    (folder / "openssl.cnf").write_text(OPENSSL)
    authority = _certificate(folder, "ca", "authority")
    signed = [_certificate(folder, name, "member", authority) for name in ("broker", "client")]
    return Certificates(authority, *signed)


def _certificate(folder: Path, name: str, kind: str, authority: Path | None = None) -> Path:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    by = [] if authority is None else ["-CA", str(authority), "-CAkey", str(folder / "ca.key")]
    command = [
        *("openssl", "req", "-x509", "-config", str(folder / "openssl.cnf"), "-extensions", kind),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate), *by),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineFailed(f"openssl failed\n{done.stderr}")
    if authority is not None:
        certificate.write_text(key.read_text() + certificate.read_text())
    return certificate
