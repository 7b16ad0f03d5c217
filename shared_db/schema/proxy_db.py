"""ProxyDB of DIRAC 9.1: delegated proxies and their log (legacy-schema.md, section 6).

A ``Pem`` is a secret: certificates with their private key.
"""

from __future__ import annotations

from sqlalchemy import Column, MetaData, String, Table

from shared_db.schema.types import BigId, Blob, Seconds, Signed, key

PROXY_DB = "ProxyDB"
metadata = MetaData(info={"database": PROXY_DB})

# A delegation that has begun: the request and its private key, for 300 s.
ProxyDB_Requests = Table(
    "ProxyDB_Requests",
    metadata,
    Column("Id", Signed, primary_key=True),
    Column("UserDN", String(255), nullable=False),
    Column("Pem", Blob),
    Column("ExpirationTime", Seconds),
    sqlite_autoincrement=True,
)

ProxyDB_CleanProxies = Table(
    "ProxyDB_CleanProxies",
    metadata,
    Column("UserName", String(64), nullable=False),
    Column("UserDN", String(255), primary_key=True),
    Column("ProxyProvider", String(64), primary_key=True, server_default="Certificate"),
    Column("Pem", Blob),
    Column("ExpirationTime", Seconds),
)

ProxyDB_VOMSProxies = Table(
    "ProxyDB_VOMSProxies",
    metadata,
    Column("UserName", String(64), nullable=False),
    Column("UserDN", String(255), primary_key=True),
    Column("UserGroup", String(255), primary_key=True),
    Column("VOMSAttr", String(255), primary_key=True),
    Column("Pem", Blob),
    Column("ExpirationTime", Seconds),
)

ProxyDB_Log = Table(
    "ProxyDB_Log",
    metadata,
    Column("ID", BigId, primary_key=True),
    Column("IssuerDN", String(255), nullable=False),
    Column("IssuerGroup", String(255), nullable=False),
    Column("TargetDN", String(255), nullable=False),
    Column("TargetGroup", String(255), nullable=False),
    Column("Action", String(128), nullable=False),
    Column("Timestamp", Seconds),
    key("Timestamp", "Timestamp", table="ProxyDB_Log"),
    sqlite_autoincrement=True,
)
