"""What a method of your own is tested with: the contract, planted worlds, and made runs.

In your ``conftest.py``, ``pytest_plugins = ["recbole_enhance.testing.plugin"]`` gives the fixtures;
a test class that inherits :class:`~recbole_enhance.testing.contract.Contract` gives the tests.
"""
