"""The LiteLLM side of Purser.

It runs in the gateway's own environment and imports only aiohttp, litellm and the standard library.
"""
