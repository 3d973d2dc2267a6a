pytest_plugins = ["recbole_enhance.testing.plugin"]
