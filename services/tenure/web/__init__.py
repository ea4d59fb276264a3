"""The web door: HTTP for whoever has no gRPC at hand.

It knows the API's messages and a `Channel` to call them through; the services behind it do not know that it is there.
"""
