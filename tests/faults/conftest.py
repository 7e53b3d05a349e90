import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def no_network(request):
    """In memory: no socket at all. The tests of real parts are marked `integration`."""
    if request.node.get_closest_marker("integration"):
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio wakes itself through a pair
    yield
    pytest_socket.enable_socket()
