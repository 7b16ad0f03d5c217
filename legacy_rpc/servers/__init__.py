"""Asyncio shells: accept, count, start TLS, feed the codec, ask, write."""
