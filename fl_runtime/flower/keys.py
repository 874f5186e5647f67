"""Certificates and keys of a federation: an authority, the SuperLink, and one key for every node.

The authority signs the SuperLink's certificate and is then not needed any more: its own key is not
written. Every node proves who it is by a key of its own, which the SuperLink has to know
(`register`). A folder with all of it is made on one machine; the SuperLink takes the certificate
with its key, a node the authority's certificate with the key of its name, and nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairopt.errors import InvalidInput
from fl_runtime.flower.programs import CA, CERTIFICATE, KEY

VALID = timedelta(days=365)
"""How long certificates are valid: a federation that lives longer renews them."""

SKEW = timedelta(hours=1)
"""Clocks of machines differ; a certificate is valid from a little before it was made."""

CURVE = ec.SECP384R1()
"""P-384, of those that Flower takes for nodes."""


def make_keys(folder: Path, hosts: Sequence[str], nodes: Sequence[str]) -> list[Path]:
    """Write all certificates and keys of a federation.

    Args:
        folder: A new or empty one; nothing is ever replaced.
        hosts: Names and addresses under which nodes reach the SuperLink.
        nodes: Names of the nodes.

    Returns:
        The files.

    Raises:
        InvalidInput: The folder has files already, or a name cannot be that of a file.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput("DIR", str(folder), "a new or empty folder")
    if not hosts:
        raise InvalidInput("--host", list(hosts), "one or more")
    for name in nodes:
        check_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    authority = ec.generate_private_key(CURVE)
    signed = _certificate("fairopt federation", authority, None)
    server = ec.generate_private_key(CURVE)
    theirs = _certificate(hosts[0], server, (signed, authority), hosts)
    files = {CA: signed.public_bytes(serialization.Encoding.PEM)}
    files[CERTIFICATE] = theirs.public_bytes(serialization.Encoding.PEM)
    files[KEY] = _private(server, serialization.PrivateFormat.PKCS8)
    for name in nodes:
        key = ec.generate_private_key(CURVE)
        files[f"{name}.key"] = _private(key, serialization.PrivateFormat.OpenSSH)
        files[f"{name}.pub"] = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    return [_written(folder / name, content) for name, content in files.items()]


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a node.

    Raises:
        InvalidInput: It is empty, has other signs than letters, digits, dash, dot and underscore,
            or is that of another key.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == Path(KEY).stem:
        requirement = f"letters, digits, '-', '.' and '_', and not {Path(KEY).stem}"
        raise InvalidInput("--node", name, requirement)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate, signed by its issuer or by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signer, signing = (subject, key) if issuer is None else (issuer[0].subject, issuer[1])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
        .add_extension(_usage(signs=issuer is None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        built = built.add_extension(names, critical=False)
    return built.sign(signing, hashes.SHA384())


def _usage(*, signs: bool) -> x509.KeyUsage:
    """What a key is for: signing certificates, or connections."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    """A host as certificates name it: an address, or a name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> bytes:
    """A private key as text."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def _written(path: Path, content: bytes) -> Path:
    """Write a file that nobody else may read, unless it is public."""
    path.touch(mode=0o600 if path.suffix == ".key" else 0o644)
    path.write_bytes(content)
    return path
