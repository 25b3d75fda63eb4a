"""For clients of servers on the loopback, which speak plain HTTP."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What httpx gets as `verify`: to read all the world's certificates takes it 20 ms, at each client and each request."""
