"""The gateway: the process that holds the public port, with the shop and every deployment behind it.

It stands alone and stays light (asyncio, httptools and the standard library): it starts at once,
outlives restarts of the shop, and keeps the last known routes while the shop is away.

wire      what both sides of a proxied exchange share: bodies in transit, header rules, limits
heads     the head of a request, checked
client    one connection of a client: requests in, answers out, in order
upstream  connections to replicas and to the shop, and their pools
files     files that the shop has the gateway send, from the disk to the client's socket
routes    which deployment lies where, which key opens it, and the reading of request paths
problems  the gateway's refusals, in the shape that the caller's API expects
usage     counts per deployment and key, sent to the shop in idempotent batches
proxy     the gateway itself: check, route, relay, count
"""
