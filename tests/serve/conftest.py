"""A server of this process, for as long as a test asks it."""

import threading
from contextlib import contextmanager


@contextmanager
def serving(server):
    """Has a `socketserver` server answer in a thread of its own; closed at the end."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
