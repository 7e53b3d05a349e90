import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def no_network():
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio wakes itself through a pair
    yield
    pytest_socket.enable_socket()
