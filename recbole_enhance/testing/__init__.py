"""Tools for testing a method of your own: the contract, planted data, and made-up runs.

``pytest_plugins = ["recbole_enhance.testing.plugin"]`` in your ``conftest.py`` adds the fixtures. A
test class that inherits :class:`~recbole_enhance.testing.contract.Contract` gets the tests.
"""
