"""Who is calling: credentials, key store, account directory, trusted proxies.

A request's headers and peer go in, an ``Identity`` comes out, from memory. ``identities.py`` is the file to
read first. Decisions in short: a directory's row describes an account; a key or a credential's hash
leads to it; open and strict mode are told apart by whether anything was ever configured.

    identities = await asyncio.to_thread(open_identities, settings, clock)  # files and stores: it blocks
    hash_address = partial(keyed_hash, identities.hash_key, "address")
    await identities.start()
    identity = identities.identify(scope["headers"], scope.get("client"))
    await identities.stop()
"""

from __future__ import annotations

from gateway.identity.accounts_file import load_accounts, load_directory
from gateway.identity.credentials import ATTRIBUTION_HEADERS, CREDENTIAL_HEADERS, FORWARDING_HEADERS
from gateway.identity.directory import Account, Directory
from gateway.identity.hashing import keyed_hash, load_hash_key
from gateway.identity.identities import Identities, identity_of, open_identities, open_key_store
from gateway.identity.keys import KeyRecord, KeyStore, UnknownKey, make_key, public_id_of

__all__ = [
    "ATTRIBUTION_HEADERS",
    "CREDENTIAL_HEADERS",
    "FORWARDING_HEADERS",
    "Account",
    "Directory",
    "Identities",
    "KeyRecord",
    "KeyStore",
    "UnknownKey",
    "identity_of",
    "keyed_hash",
    "load_accounts",
    "load_directory",
    "load_hash_key",
    "make_key",
    "open_identities",
    "open_key_store",
    "public_id_of",
]
