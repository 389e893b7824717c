"""The client, written once with asyncio; `_sync` is derived from it by `client/unasync.py`."""
