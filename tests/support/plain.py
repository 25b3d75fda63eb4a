"""For clients of servers on the loopback: plain HTTP, or TLS with whatever certificate they show."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What httpx gets as `verify`: to read all the world's certificates takes it 20 ms, at each client and each request."""
NO_TLS.check_hostname = False
NO_TLS.verify_mode = ssl.CERT_NONE
